"""Alive, ready, measured; and the headers that every answer carries."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.observe import PROBED
from api.probes import MOST_ASKED
from tests.api.helpers import JSON, post, refused, serving
from tests.conftest import make_runtime, new_key
from voice.db.migrate import known_revisions
from voice.feedback.intake import Intake
from voice.runtime import Runtime

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def test_alive_and_ready_without_a_key(client: TestClient) -> None:
    del client.headers["Authorization"]
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = {"status": "ready", "database": "ok", "migrations": "ok", "writer": "ok"}
    assert client.get("/readyz").json() == ready


def at_revision(runtime: Runtime, revision: str) -> None:
    with runtime.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": revision})


def test_not_ready_on_an_older_schema(client: TestClient, runtime: Runtime) -> None:
    at_revision(runtime, known_revisions()[-2])
    answer = client.get("/readyz")
    assert refused(answer, 503)["detail"] == "the database's schema is older: voice migrate"
    assert answer.headers["retry-after"]
    assert client.get("/healthz").status_code == 200
    at_revision(runtime, known_revisions()[-1])
    assert client.get("/readyz").status_code == 200


def test_ready_on_a_newer_schema_and_says_so(client: TestClient, runtime: Runtime) -> None:
    at_revision(runtime, "from a later version")
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "database": "ok", "migrations": "newer", "writer": "ok"}


def test_not_ready_without_a_schema(client: TestClient, runtime: Runtime) -> None:
    with runtime.database.write() as session:
        session.execute(text("DELETE FROM alembic_version"))
    assert "schema is empty" in refused(client.get("/readyz"), 503)["detail"]


def measured(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_metrics_say_what_waits(client: TestClient, runtime: Runtime) -> None:
    post(client, "fine", "poison")
    before = measured(client)
    assert (before["voice_pending_rows",], before["voice_dead_rows",]) == (2, 0)
    assert before["voice_oldest_pending_seconds",] >= 0
    assert before["voice_writer_waiting",] == 0
    for _ in range(7):
        runtime.pipeline.drain()
    after = measured(client)
    assert (after["voice_pending_rows",], after["voice_dead_rows",]) == (0, 1)
    assert after["voice_oldest_pending_seconds",] == 0


def test_requests_are_counted_by_route_and_not_by_path(
    sqlite_url: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make_runtime(sqlite_url, tmp_path, body_bytes=1_000)  # type: ignore[arg-type]
    with serving(runtime, new_key(runtime, "admin")) as client:
        before = measured(client)
        for number in range(3):
            client.get(f"/v1/feedback/{number:026}")
        client.get("/no/such/route")
        client.post("/v1/feedback", content=b"x" * 1_001, headers=JSON)
        monkeypatch.setattr(Intake, "prepare", lambda *_, **__: 1 / 0)
        client.post("/v1/feedback", json={"text": "x"})
        after = measured(client)
    counted = {key: n - before.get(key, 0) for key, n in after.items() if key[0] == "voice_requests_total"}
    counted = {key[1:]: n for key, n in counted.items() if n}
    assert counted.pop(("GET", "/metrics", "200")) == 1
    assert counted == {
        ("GET", "/v1/feedback/{feedback_id}", "404"): 3,
        ("GET", "unmatched", "404"): 1,
        ("POST", "unmatched", "413"): 1,
        ("POST", "/v1/feedback", "500"): 1,
    }
    assert after["voice_request_seconds_count", "GET", "/v1/feedback/{feedback_id}"] >= 3


def test_every_metric_of_ours_is_named_and_described(shared: TestClient) -> None:
    page = shared.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    ours = set(re.findall(r"^# HELP (voice_\w+) \S", page.text, re.M))
    assert ours >= {
        "voice_requests_total",
        "voice_request_seconds",
        "voice_doorbell_failures_total",
        "voice_pending_rows",
        "voice_oldest_pending_seconds",
        "voice_dead_rows",
        "voice_writer_waiting",
    }


def test_headers_of_every_answer(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.routes.health.schema_of", lambda _: 1 / 0)
    with serving(sqlite_runtime, new_key(sqlite_runtime, "viewer")) as client:
        answers = {
            200: client.get("/v1/me"),
            401: client.get("/v1/me", headers={"Authorization": ""}),
            403: client.get("/v1/keys"),
            404: client.get("/nope"),
            405: client.put("/v1/me"),
            413: client.post("/v1/feedback", content=b"x" * 256_001),
            422: client.get("/v1/feedback?limit=0"),
            500: client.get("/readyz"),
        }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, status
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in answer.headers


def test_the_front_page_tells_how_to_go_on(shared: TestClient) -> None:
    page = shared.get("/", headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    refused(shared.get("/?x=1"), 422, "x")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Runtime]:
    """An installation whose schema no other test has touched."""
    live = make_runtime(f"sqlite:///{tmp_path / 'voice.db'}", tmp_path)
    yield live
    live.close()


def test_probes_need_no_thread_of_the_pool(own: Runtime) -> None:
    """Every thread that routes run on is held up; whoever looks after the process sees it all the same."""
    with serving(own) as client:
        portal = client.portal
        assert portal is not None
        limiter = portal.call(to_thread.current_default_thread_limiter)
        before = limiter.total_tokens
        limiter.total_tokens = 1
        held, go = threading.Event(), threading.Event()

        async def hold() -> None:
            await to_thread.run_sync(lambda: (held.set(), go.wait(30)))

        holding = portal.start_task_soon(hold)
        try:
            assert held.wait(30)
            for path in PROBED:
                assert portal.start_task_soon(ask, client.app, path).result(20) == 200, path
            at_revision(own, known_revisions()[-2])
            assert portal.start_task_soon(ask, client.app, "/readyz").result(20) == 503
        finally:
            go.set()
            holding.result(30)
            limiter.total_tokens = before


async def ask(app: Any, path: str) -> int:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get(path)).status_code


def test_a_mute_database_is_told_within_seconds(own: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.probes.ANSWER_SECONDS", 0.05)
    go = threading.Event()
    with serving(own) as client:
        with monkeypatch.context() as patch:
            patch.setattr("api.routes.health.schema_of", lambda _: go.wait(30))
            patch.setattr("api.routes.health.look", lambda *_, **__: go.wait(30))
            for _ in range(MOST_ASKED + 2):  # more than may be asked at once
                assert "does not answer" in refused(client.get("/readyz"), 503)["detail"]
                page = client.get("/metrics").text
                assert "\nvoice_database_up 0.0\n" in page
                assert "\nvoice_pending_rows NaN\n" in page
            assert sum("AnyIO" in thread.name for thread in threading.enumerate()) <= MOST_ASKED + 8
        go.set()
        monkeypatch.setattr("api.probes.ANSWER_SECONDS", 20)
        answer = client.get("/readyz")
        assert answer.status_code == 200, answer.text
        assert "\nvoice_database_up 1.0\n" in client.get("/metrics").text
