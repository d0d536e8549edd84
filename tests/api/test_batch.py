"""POST /v1/feedback/batch: one entry per line, and a bad line never spoils its neighbours."""

import json
import threading
import tracemalloc
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.routes import intake
from tests.api.helpers import ids_of, items, refused
from voice.db.writer import Writer
from voice.errors import Busy, Unavailable

NDJSON = {"Content-Type": "application/x-ndjson"}


def send(client: TestClient, *lines: Any, end: bytes = b"\n") -> dict[str, Any]:
    """Send lines (objects, or bytes as they are); the answer."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    answer = client.post("/v1/feedback/batch", content=end.join(encoded), headers=NDJSON)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    counts = {name: body[name] for name in ("stored", "updated", "duplicate", "rejected")}
    outcomes = [line["outcome"] for line in body["lines"]]
    assert counts == {name: outcomes.count(name) for name in counts}
    for line in body["lines"]:
        assert (line["id"] is None) == (line["outcome"] == "rejected") == bool(line["errors"])
    return body


BAD_LINES: list[tuple[Any, str]] = [
    (b'{"text": "cut off', ""),
    (b"not json", ""),
    (b"[]", ""),
    (b"null", ""),
    (b'{"text": "a\xff"}', ""),
    (b'{"text": "\\ud800"}', ""),
    (b'{"text": "a\\u0000"}', "text"),
    (b"[" * 5_000, ""),
    ({"text": " "}, "text"),
    ({"text": "x" * 10_001}, "text"),
    ({"text": "x", "colour": 1}, "colour"),
    ({"text": "x", "author": {"phone": 1}}, "author.phone"),
    ({"rating": 11, "rating_scale": "nps"}, "rating"),
    ({"text": "x", "created_at": "2026-05-04"}, "created_at"),
]


def test_good_and_bad_lines(client: TestClient) -> None:
    lines = [line for bad, _ in BAD_LINES for line in (bad, {"text": "good"})]
    body = send(client, *lines)
    assert [entry["line"] for entry in body["lines"]] == list(range(1, len(lines) + 1))
    assert [entry["outcome"] for entry in body["lines"]] == ["rejected", "stored"] * len(BAD_LINES)
    named = [entry["errors"][0]["field"] for entry in body["lines"] if entry["errors"]]
    assert named == [field for _, field in BAD_LINES]
    assert ids_of(client) == {entry["id"] for entry in body["lines"] if entry["id"]}


def test_one_external_id_many_times(client: TestClient) -> None:
    texts = ["one", "one", "two", "two", "one"]
    body = send(client, *({"text": text, "external_id": "e"} for text in texts))
    outcomes = [entry["outcome"] for entry in body["lines"]]
    assert outcomes == ["stored", "duplicate", "updated", "duplicate", "updated"]
    assert len({entry["id"] for entry in body["lines"]}) == 1
    assert [item["text"] for item in items(client)] == ["one"]


def test_blank_lines_are_counted_but_are_no_entries(sqlite_client: TestClient) -> None:
    body = send(sqlite_client, {"text": "a"}, b"", b"  \t", {"text": "b"}, b"", b"")
    assert [entry["line"] for entry in body["lines"]] == [1, 4]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_ends(sqlite_client: TestClient, end: bytes) -> None:
    body = send(sqlite_client, {"text": "a"}, {"text": "b\u2028c"}, b"", end=end)
    assert [entry["line"] for entry in body["lines"]] == [1, 2]
    assert {item["text"] for item in items(sqlite_client)} == {"a", "b\u2028c"}


def test_nothing_sent(sqlite_client: TestClient) -> None:
    assert send(sqlite_client, b"")["lines"] == []


def test_more_than_one_transaction_keeps_the_order(sqlite_client: TestClient) -> None:
    lines = [{"text": f"n{n}", "external_id": str(n % 700)} for n in range(1_100)]
    body = send(sqlite_client, *lines)
    assert (body["stored"], body["updated"]) == (700, 400)
    assert [entry["line"] for entry in body["lines"]] == list(range(1, 1_101))


def test_a_full_writer_costs_only_its_lines(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, calls = Writer.submit, []

    def sometimes(writer: Writer[Any, Any], request: Any) -> Any:
        calls.append(request)
        if len(calls) == 2:
            raise Busy("too many requests are waiting to be stored", retry_after=1)
        return submit(writer, request)

    monkeypatch.setattr(Writer, "submit", sometimes)
    body = send(sqlite_client, *({"text": f"n{n}"} for n in range(1_100)))
    assert [entry["outcome"] for entry in body["lines"]] == (
        ["stored"] * 500 + ["rejected"] * 500 + ["stored"] * 100
    )
    assert "send it again" in body["lines"][500]["errors"][0]["message"]


def test_nothing_stored_is_an_error(sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(writer: Writer[Any, Any], request: Any) -> Any:
        raise Unavailable("the writer is not running; try again shortly")

    monkeypatch.setattr(Writer, "submit", never)
    answer = sqlite_client.post("/v1/feedback/batch", content=b'{"text": "a"}', headers=NDJSON)
    refused(answer, 503)
    assert answer.headers["retry-after"] == "5"


def test_too_many_lines(sqlite_client: TestClient) -> None:
    most = b"\n".join([b"{}"] * 10_000)
    assert len(send(sqlite_client, most)["lines"]) == 10_000
    answer = sqlite_client.post("/v1/feedback/batch", content=most + b"\n{}", headers=NDJSON)
    refused(answer, 413)
    assert items(sqlite_client) == []


def test_far_too_many_lines_are_not_split(sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    lines = intake._lines

    def noted(body: bytes, most: int) -> list[tuple[int, bytes]]:
        threads.append(threading.get_ident())
        return lines(body, most)

    monkeypatch.setattr(intake, "_lines", noted)
    body = b"a\n" * 500_000
    tracemalloc.start()
    try:
        answer = sqlite_client.post("/v1/feedback/batch", content=body, headers=NDJSON)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    refused(answer, 413)
    assert peak < 20 * len(body)
    assert threads != [sqlite_client.portal.call(threading.get_ident)]  # type: ignore[union-attr]


def test_a_batch_needs_a_key_that_may_write_batches(shared: TestClient) -> None:
    answer = shared.post("/v1/feedback/batch", content=b"{}", headers={"Authorization": "Bearer voice_no"})
    refused(answer, 401)
