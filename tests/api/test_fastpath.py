"""The fast path of POST /v1/feedback: it answers and stores as the ordinary route does, and leaves refusals to it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import fastpath
from tests.api.helpers import JSON, items, refused, serving
from tests.conftest import make_runtime, new_key
from voice.feedback.intake import Intake
from voice.runtime import Runtime

ORDINARY = {"Content-Type": "application/json;charset=utf-8"}
"""JSON as well, written in a way that the fast path does not take."""

BODIES: list[dict[str, Any]] = [
    {"text": "Charged twice"},
    {"text": "Mail ann@example.com or call +49 30 901820", "title": "ann@example.com"},
    {"rating": 4, "rating_scale": "stars"},
    {
        "text": "x",
        "source": "shop",
        "external_id": "e-1",
        "version": "2.1",
        "tags": ["a"],
        "metadata": {"k": [1, None]},
    },
    {
        "text": "x",
        "author": {"id": "u-1", "name": "Ada", "account": "acme", "segment": "pro"},
        "language": "en-GB",
    },
    {
        "text": "x",
        "created_at": "2026-05-04T13:30:00+02:00",
        "url": "https://example.com/?token=abcdef123456",
    },
    {"text": "été 👩‍👩‍👧", "tags": None, "author": None},
]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request was served by the fast path."""
    seen: list[bool] = []
    understood = fastpath._understood

    def noted(*given: Any) -> Any:
        found = understood(*given)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(fastpath, "_understood", noted)
    return seen


def known(client: TestClient) -> TestClient:
    """The client, whose key has been looked up."""
    assert items(client) == []
    return client


@pytest.mark.parametrize("body", BODIES)
def test_it_stores_what_the_ordinary_route_stores(
    client: TestClient, served: list[bool], body: dict[str, Any]
) -> None:
    first = known(client).post("/v1/feedback", json=body)
    [one] = items(client)
    other = {**body, "external_id": "other"} if "external_id" in body else body
    second = client.post("/v1/feedback", content=json.dumps(other), headers=ORDINARY)
    assert served == [True, False]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == {"id": one["id"], "outcome": "stored"}
    assert first.headers.items() == second.headers.items()
    [two] = [item for item in items(client) if item["id"] != one["id"]]
    own = {"id", "external_id", "received_at"} | (set() if "created_at" in body else {"created_at"})
    assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in two.items() if k not in own}


def test_a_duplicate_and_an_update(client: TestClient, served: list[bool]) -> None:
    known(client)
    outcomes = [
        client.post("/v1/feedback", json={"text": text, "external_id": "e"}).json()["outcome"]
        for text in ("a", "a", "b")
    ]
    assert outcomes == ["stored", "duplicate", "updated"]
    assert served == [True] * 3


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"text": "x", "colour": "red"}', JSON, 422),
        (b'{"text": ""}', JSON, 422),
        (b"{", JSON, 422),
        (b'{"text": "\\ud800"}', JSON, 422),
        (b'{"text": "x"}', {"Content-Type": "text/plain"}, 422),
        (b'{"text": "x"}', {**JSON, "Authorization": "Bearer voice_" + "0" * 43}, 401),
        (b'{"text": "x"}', {**JSON, "Authorization": "Basic x"}, 401),
        (b'{"text": "x"}', {**JSON, "Idempotency-Key": "k"}, 202),
        (b'{"text": "' + b"x" * 1_100 + b'"}', JSON, 202),
    ],
)
def test_what_is_special_goes_the_ordinary_way(
    shared: TestClient, served: list[bool], content: bytes, headers: dict[str, str], status: int
) -> None:
    items(shared)
    answer = shared.post("/v1/feedback", content=content, headers=headers)
    assert answer.status_code == status
    assert served == [False]


def test_queries_are_refused(shared: TestClient, served: list[bool]) -> None:
    refused(shared.post("/v1/feedback?colour=red", json={"text": "x"}), 422, "colour")
    assert served == []


def test_a_role_that_may_not_write_is_refused(sqlite_runtime: Runtime, served: list[bool]) -> None:
    with serving(sqlite_runtime, new_key(sqlite_runtime, "viewer")) as client:
        known(client)
        refused(client.post("/v1/feedback", json={"text": "x"}), 403)
    assert served == [False]


@pytest.fixture
def three_a_minute(sqlite_url: str, tmp_path: Path) -> Iterator[Runtime]:
    live = make_runtime(sqlite_url, tmp_path, ingest_per_minute=3)
    yield live
    live.close()


def test_every_request_counts_once(three_a_minute: Runtime, served: list[bool]) -> None:
    with serving(three_a_minute, new_key(three_a_minute, "ingest")) as client:
        statuses = [client.post("/v1/feedback", json={"text": "x"}).status_code for _ in range(5)]
    assert statuses == [202, 202, 202, 429, 429]
    assert served == [False, True, True]  # the first looks the key up; the last two were refused


def test_no_other_thread_redacts_a_short_text(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    prepare = Intake.prepare

    def noted(*given: Any, **named: Any) -> Any:
        threads.append(threading.get_ident())
        return prepare(*given, **named)

    monkeypatch.setattr(Intake, "prepare", noted)
    known(sqlite_client)
    for _ in range(3):
        sqlite_client.post("/v1/feedback", json={"text": "x"})
    assert len(set(threads)) == 1
