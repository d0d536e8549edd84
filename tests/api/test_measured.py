"""What the edge counts: outcomes of intake, refusals by their reason, the writer's groups."""

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import JSON, refused, serving
from tests.conftest import make_runtime, new_key
from voice.db.writer import Writer
from voice.errors import QueueFull, Unavailable
from voice.metrics import REGISTRY


def value(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def outcomes() -> dict[str, float]:
    names = ("stored", "updated", "duplicate", "erased", "rejected")
    return {name: value("voice_intake_total", outcome=name) for name in names}


def test_every_submission_is_counted_once_by_its_outcome(client: TestClient) -> None:
    before = outcomes()
    for body, status in (
        ({"text": "x", "external_id": "1"}, 202),
        ({"text": "x", "external_id": "1"}, 202),
        ({"text": "y", "external_id": "1"}, 202),
        ({"txt": "x"}, 422),
        ({"text": "x", "created_at": "2999-01-01T00:00:00Z"}, 422),
    ):
        assert client.post("/v1/feedback", json=body).status_code == status
    client.post("/v1/feedback/batch", content=b'{"text": "a"}\n{"text": ""}\n{"text": "b"}\nnonsense')
    assert client.get("/v1/feedback?limit=0").status_code == 422
    grown = {name: n - before[name] for name, n in outcomes().items()}
    assert grown == {"stored": 3, "updated": 1, "duplicate": 1, "erased": 0, "rejected": 4}


def test_a_repeated_request_is_not_a_second_submission(sqlite_client: TestClient) -> None:
    before = outcomes()["stored"]
    for _ in range(2):
        sqlite_client.post("/v1/feedback", json={"text": "x"}, headers={"Idempotency-Key": "one"})
    assert outcomes()["stored"] == before + 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(QueueFull("full", retry_after=1), "writer_full"), (Unavailable("away"), "database")],
)
def test_a_refusal_is_counted_by_its_reason(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch, error: QueueFull | Unavailable, reason: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    labels = {"status": str(error.status), "reason": reason}
    before = value("voice_refused_total", **labels)
    monkeypatch.setattr(Writer, "submit", refuse)
    refused(sqlite_client.post("/v1/feedback", json={"text": "x"}), error.status)
    assert value("voice_refused_total", **labels) == before + 1


def test_a_caller_over_the_limit_is_counted(sqlite_url: str, tmp_path: object) -> None:
    runtime = make_runtime(sqlite_url, tmp_path, other_per_minute=1)  # type: ignore[arg-type]
    labels = {"status": "429", "reason": "rate_limit"}
    before = value("voice_refused_total", **labels)
    with serving(runtime, new_key(runtime, "admin")) as client:
        client.post("/v1/feedback", content=b'{"text": "x"}', headers=JSON)
        refused(client.get("/v1/themes"), 429)
    assert value("voice_refused_total", **labels) == before + 1


def test_the_writer_says_how_large_and_how_long_its_groups_are(sqlite_client: TestClient) -> None:
    names = ("voice_writer_group_requests_count", "voice_writer_commit_seconds_count")
    before = [value(name) for name in names]
    sqlite_client.post("/v1/feedback", json={"text": "x"})
    assert [value(name) - n for name, n in zip(names, before, strict=True)] == [1, 1]
    assert value("voice_writer_capacity") == sqlite_client.app.state.voice.runtime.settings.writer_queue  # type: ignore[attr-defined]
