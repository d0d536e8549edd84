"""How much one caller may send: bytes, requests a minute, and no more than the writer can store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from api.app import create_app
from api.deps import KeyRing
from api.limits import MovingWindow
from api.observe import Observe
from tests.api.helpers import JSON, refused, serving
from tests.conftest import make_runtime, new_key
from voice.cli.serving import api
from voice.metrics import REFUSED
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

    path, headers = "/v1/feedback/batch", {"transfer-encoding": "chunked"}
    with serving(sqlite_runtime) as client:
        key = {"authorization": f"Bearer {new_key(sqlite_runtime, 'ingest')}"}
        assert exchange(client.app, path, endless(), headers | key) == 413
        assert taken == 21
        taken = 0
        viewer = {"authorization": f"Bearer {new_key(sqlite_runtime, 'viewer')}"}
        assert exchange(client.app, path, endless(), headers | viewer) == 413
        assert taken == 1
        taken = 0
        for stranger in ({}, {"authorization": f"Bearer voice_{0:043}"}):
            assert exchange(client.app, path, endless(), headers | stranger) == 401
        assert taken == 0


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


def test_what_a_proxy_adds_in_a_line_of_its_own_counts(limited: Runtime) -> None:
    with serving(limited, new_key(limited, "widget"), client=("10.0.0.1", 1)) as client:
        found = []
        for n in range(3):
            lines = [("X-Forwarded-For", f"198.51.100.{n}"), ("X-Forwarded-For", "203.0.113.5")]
            found.append(client.post("/v1/feedback", json={"text": "x"}, headers=lines).status_code)
        assert found == [202, 202, 429]


def test_guesses_do_not_lock_out_a_good_key(limited: Runtime) -> None:
    with serving(limited, new_key(limited, "admin")) as client:
        assert write(client) == 202
        for n in range(7):
            write(client, Authorization=f"Bearer voice_{n:043}")
        assert write(client) == 202
        client.app.state.voice.keys._known = {  # type: ignore[attr-defined]
            plain: (0.0, principal)
            for plain, (_, principal) in client.app.state.voice.keys._known.items()  # type: ignore[attr-defined]
        }  # it was looked up long ago
        assert write(client) == 202


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


def test_guessing_with_bodies_too_large_is_slowed_down_as_well(limited: Runtime) -> None:
    with serving(limited) as client:
        found = [
            client.post(
                "/v1/feedback/batch",
                content=b" " * 3_000,
                headers={"Authorization": f"Bearer voice_{n:043}"},
            ).status_code
            for n in range(7)
        ]
    assert found == [401] * 5 + [429] * 2


def test_an_address_that_keeps_guessing_costs_the_database_nothing(
    limited: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = 0
    look_up = KeyRing._look_up

    def noted(ring: KeyRing, plain: str) -> Any:
        nonlocal looked_up
        looked_up += 1
        return look_up(ring, plain)

    monkeypatch.setattr(KeyRing, "_look_up", noted)
    with serving(limited) as client:
        for n in range(9):
            write(client, Authorization=f"Bearer voice_{n:043}")
        assert looked_up == 5
        assert write(client, Authorization=f"Bearer {new_key(limited, 'admin')}") == 429
        assert looked_up == 5


@pytest.mark.parametrize("proxy", ["10.0.0.1", "::ffff:10.0.0.1"])
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.5", "203.0.113.5", True),
        ("::ffff:203.0.113.5", "::ffff:203.0.113.6", False),
        ("203.0.113.5", "203.0.113.6", False),
    ],
)
def test_what_counts_as_one_address(limited: Runtime, proxy: str, one: str, other: str, same: bool) -> None:
    with serving(limited, new_key(limited, "widget"), client=(proxy, 1)) as client:
        assert [write(client, **{"X-Forwarded-For": one}) for _ in range(2)] == [202] * 2
        assert write(client, **{"X-Forwarded-For": other}) == (429 if same else 202)


def test_retry_after_is_when_the_next_request_is_taken(limited: Runtime) -> None:
    now = 0.0
    with serving(limited, new_key(limited, "ingest")) as client:
        client.app.state.voice.limits._window = MovingWindow(lambda: now)  # type: ignore[attr-defined]
        for _ in range(3):
            assert write(client) == 202
            now += 10.0
        now = 20.5
        answer = client.post("/v1/feedback", json={"text": "x"})
        assert answer.headers["retry-after"] == "40"
        now += 39.0
        assert write(client) == 429
        now += 1.0
        assert write(client) == 202


def test_whoever_comes_when_too_many_are_answered_is_told_so_and_probes_are_not() -> None:
    async def scenario() -> None:
        leaving, arrived = asyncio.Event(), 0

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            nonlocal arrived
            if scope["path"] == "/slow":
                arrived += 1
                await leaving.wait()
            await PlainTextResponse("ok")(scope, receive, send)

        transport = httpx.ASGITransport(Observe(slow, most=2))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            waiting = [asyncio.create_task(client.get("/slow")) for _ in range(2)]
            while arrived < 2:
                await asyncio.sleep(0)
            before = REFUSED.labels("503", "overloaded")._value.get()
            answer = refused(await client.get("/v1/me"), 503)
            assert answer["title"] == "Unavailable"
            assert REFUSED.labels("503", "overloaded")._value.get() == before + 1
            for path in ("/healthz", "/readyz", "/metrics"):
                assert (await client.get(path)).status_code == 200
            leaving.set()
            assert [(await one).status_code for one in waiting] == [200] * 2
            assert (await client.get("/v1/me")).status_code == 200

    asyncio.run(scenario())


def test_a_full_queue_is_met_before_too_many_requests_and_those_before_too_many_connections(
    limited: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda *_, **options: served.update(options))
    monkeypatch.setattr("voice.cli.serving.load_settings", lambda: limited.settings)
    monkeypatch.setattr("voice.cli.serving.configure_logs", lambda *_, **__: None)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    api(host=None, port=None)
    with serving(limited) as client:
        writer = client.app.state.voice.writer  # type: ignore[attr-defined]
        longest = writer._waiting.maxsize + writer._max_group
    assert longest < limited.settings.most_in_flight < served["limit_concurrency"]
