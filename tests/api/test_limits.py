"""How much one caller may send: bytes, requests a minute, and no more than the writer can store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.api.helpers import JSON, refused, serving
from tests.conftest import make_runtime, new_key
from voice.runtime import Runtime

MEGABYTE = b" " * 1_000_000


@pytest.fixture
def limited(sqlite_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """An installation with small limits, behind a proxy at 10.0.0.1."""
    live = make_runtime(
        sqlite_url,
        tmp_path,
        widget_per_minute=2,
        ingest_per_minute=3,
        other_per_minute=4,
        refused_per_minute=5,
        trusted_proxies="10.0.0.1, fd00::/8",
        body_bytes=2_000,
    )
    yield live
    live.close()


def write(client: TestClient, **headers: str) -> int:
    answer = client.post("/v1/feedback", json={"text": "x"}, headers=headers)
    if answer.status_code == 429:
        refused(answer, 429)
        assert int(answer.headers["retry-after"]) > 0
    return answer.status_code


def test_single_body_cap(limited: Runtime) -> None:
    with serving(limited, new_key(limited, "ingest")) as client:
        assert client.post("/v1/feedback", json={"text": "x" * 1_900}).status_code == 202
        too_large = b'{"text": "' + b"x" * 2_000 + b'"}'
        refused(client.post("/v1/feedback", content=too_large, headers=JSON), 413)
        refused(client.post("/v1/feedback", content=iter([too_large]), headers=JSON), 413)


def test_batch_body_cap(shared: TestClient) -> None:
    for content in (MEGABYTE * 20 + b"{", iter([MEGABYTE] * 21)):
        refused(shared.post("/v1/feedback/batch", content=content), 413)
    assert shared.post("/v1/feedback/batch", content=MEGABYTE * 20).status_code == 200


def exchange(app: Any, path: str, chunks: AsyncIterator[bytes], headers: dict[str, str]) -> int:
    """Send a body of unknown length chunk by chunk, as a server does; the status."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("203.0.113.9", 1),
        "scheme": "http",
        "server": ("test", 80),
        "http_version": "1.1",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


def test_reading_stops_at_the_cap_of_a_body_without_end(sqlite_runtime: Runtime) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield MEGABYTE

    app = create_app(runtime=sqlite_runtime)
    assert exchange(app, "/v1/feedback/batch", endless(), {"transfer-encoding": "chunked"}) == 413
    assert taken == 21


def test_a_declared_length_is_refused_unread(sqlite_runtime: Runtime) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("read although the length says that it is too large")
        yield b""

    app = create_app(runtime=sqlite_runtime)
    assert exchange(app, "/v1/feedback", unread(), {"content-length": "256001"}) == 413


def test_a_body_that_never_comes(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    monkeypatch.setattr("api.limits.BODY_SECONDS", 0.05)
    assert exchange(create_app(runtime=sqlite_runtime), "/v1/feedback", never(), {}) == 408


def test_ten_a_minute_from_one_address_with_a_widget_key(sqlite_runtime: Runtime) -> None:
    with serving(sqlite_runtime, new_key(sqlite_runtime, "widget")) as client:
        assert [write(client) for _ in range(11)] == [202] * 10 + [429]


def test_widget_limit_is_per_address_and_key(limited: Runtime) -> None:
    key, other = new_key(limited, "widget"), new_key(limited, "widget")
    with serving(limited, key, client=("10.0.0.1", 1)) as client:
        assert [write(client, **{"X-Forwarded-For": "203.0.113.5"}) for _ in range(3)] == [202, 202, 429]
        assert write(client, **{"X-Forwarded-For": "203.0.113.6"}) == 202
        theirs = {"X-Forwarded-For": "203.0.113.5", "Authorization": f"Bearer {other}"}
        assert write(client, **theirs) == 202


def test_a_stranger_cannot_choose_an_address(limited: Runtime) -> None:
    with serving(limited, new_key(limited, "widget"), client=("203.0.113.5", 1)) as client:
        claims = [{"X-Forwarded-For": f"198.51.100.{n}"} for n in range(3)]
        assert [write(client, **claim) for claim in claims] == [202, 202, 429]


def test_only_what_trusted_proxies_appended_counts(limited: Runtime) -> None:
    with serving(limited, new_key(limited, "widget"), client=("10.0.0.1", 1)) as client:
        claims = [{"X-Forwarded-For": f"198.51.100.{n}, 203.0.113.5, fd00::7"} for n in range(3)]
        assert [write(client, **claim) for claim in claims] == [202, 202, 429]


@pytest.mark.parametrize(
    "claim", ["", ",", "unknown", "::::", "10.0.0.1", "10.0.0.1, 10.0.0.1", "'; --", "\xff"]
)
def test_an_odd_header_is_survived(limited: Runtime, claim: str) -> None:
    with serving(limited, new_key(limited, "widget"), client=("10.0.0.1", 1)) as client:
        headers = {b"X-Forwarded-For": claim.encode("latin-1")}
        assert client.post("/v1/feedback", json={"text": "x"}, headers=headers).status_code == 202  # type: ignore[arg-type]


@pytest.mark.parametrize(("role", "allowed"), [("ingest", 3), ("admin", 4)])
def test_limits_of_other_keys(limited: Runtime, role: str, allowed: int) -> None:
    with serving(limited, new_key(limited, role)) as client:
        assert [write(client) for _ in range(allowed + 1)] == [202] * allowed + [429]
        assert write(client, Authorization=f"Bearer {new_key(limited, role)}") == 202


def test_guessing_keys_is_slowed_down(limited: Runtime) -> None:
    with serving(limited) as client:
        found = [write(client, Authorization=f"Bearer voice_{n:043}") for n in range(7)]
    assert found == [401] * 5 + [429] * 2
