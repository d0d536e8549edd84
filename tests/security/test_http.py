"""HTTP as attackers speak it: requests that lie about themselves, never end, or are far too large."""

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import items, refused, serving
from tests.conftest import SECRET
from tests.security.wire import BODY, SECOND, answers, connect, exchange, head, rest
from voice.runtime import Runtime

pytestmark = pytest.mark.slow


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        (f"Content-Length: {len(BODY)}", "Content-Length: 0"),
        (f"Content-Length: {len(BODY)}", f"Content-Length: {len(BODY)}"),
        (f"Content-Length: {len(BODY)}, {len(BODY)}",),
        (f"Content-Length: +{len(BODY)}",),
        ("Content-Length: -1",),
        ("Content-Length: 0x15",),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 2 1",),
        ("Content-Length:",),
        (f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"),
        ("Transfer-Encoding: identity",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("X: a\r\n folded: b",),
        ("X\x00Y: a",),
        ("X: a\x00b",),
        (" Leading: a",),
        ("NoColon",),
    ],
    ids=lambda lines: repr(", ".join(lines)[:60]),
)
def test_ambiguous_heads_are_refused(port: int, key: str, lines: tuple[str, ...]) -> None:
    """One answer, a refusal, and the connection ends: nothing after it is taken for another request."""
    found = exchange(port, head(key, "Content-Type: application/json", *lines) + BODY + SECOND)
    assert [answer.status for answer in found] == [400]
    assert json.loads(found[0].body)["status"] == 400
    assert found[0].headers["connection"] == "close"


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5\r\nabcdefgh", b"1\nx\n0\n\n", b"3\r\nabc0\r\n\r\n"],
)
def test_chunks_that_are_none(port: int, key: str, body: bytes) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    found = exchange(port, head(key, *lines) + body + SECOND)
    assert [answer.status for answer in found] == [400]


def test_a_request_line_that_is_none(port: int) -> None:
    for line in (
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / \r\nHost: x\r\n\r\n",
        b"X" * 100,
    ):
        found = exchange(port, line + b"\r\n\r\n")
        assert {answer.status for answer in found} <= {400}, line


def test_a_length_that_is_too_short(port: int, key: str, served_runtime: Runtime) -> None:
    """What is left over is taken for another request, which is none: the connection ends."""
    found = exchange(
        port,
        head(key, "Content-Type: application/json", f"Content-Length: {len(BODY)}") + BODY + b'garbage"}',
    )
    assert found[-1].status == 400
    assert {answer.status for answer in found[:-1]} <= {202}


def test_pipelined_requests_are_answered_in_order(port: int, key: str) -> None:
    first = head(key, "Content-Type: application/json", f"Content-Length: {len(BODY)}") + BODY
    found = exchange(port, first + SECOND + first)
    assert [answer.status for answer in found] == [202, 200, 202]


def test_chunked_bodies_have_the_same_cap(port: int, key: str) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    assert exchange(port, head(key, *lines) + chunked(b'{"text": ', b'"x"}'))[0].status == 202
    found = exchange(port, head(key, *lines) + chunked(*[b" " * 10_000] * 40) + SECOND)
    assert [answer.status for answer in found] == [413]
    assert found[0].headers["connection"] == "close"


def test_a_declared_length_over_the_cap_is_refused_unread(port: int, key: str) -> None:
    with connect(port) as connection:
        connection.sendall(head(key, "Content-Type: application/json", "Content-Length: 1000000000"))
        [answer] = answers(rest(connection))
    assert answer.status == 413


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 90) for n in range(5_000)),
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz?" + b"a=b&" * 250_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a" * 1_000_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["header", "many headers", "path", "query", "name without an end", "just over"],
)
def test_a_head_has_a_largest_size(port: int, sent: bytes) -> None:
    [answer] = exchange(port, sent)
    assert answer.status == 431
    assert json.loads(answer.body)["title"] == "Request Header Fields Too Large"
    assert exchange(port, SECOND)[0].status == 200


@pytest.mark.parametrize(
    "trailer",
    [
        b"X: " + b"a" * 1_000_000,
        b"a" * 1_000_000,
        b"".join(b"X-%d: %b\r\n" % (n, b"a" * 90) for n in range(5_000)),
    ],
    ids=["value", "name", "many"],
)
def test_a_trailer_has_a_largest_size(port: int, trailer: bytes) -> None:
    """Without a key: the head comes first, and alone, so that what follows is read as a trailer from its beginning."""
    with connect(port) as connection:
        connection.sendall(head("none", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        time.sleep(0.1)
        with suppress(ConnectionError):
            connection.sendall(b"0\r\n" + trailer)
        [answer] = answers(rest(connection))
    assert answer.status == 431


def test_a_large_body_in_small_chunks_is_no_trailer(port: int, key: str) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    body = b'{"text": "x"' + b" " * 20_000 + b"}"
    parts = [body[n : n + 1] for n in range(len(body))]
    assert exchange(port, head(key, *lines) + chunked(*parts))[0].status == 202


def test_a_trailer_is_no_header(port: int, key: str) -> None:
    lines = ("Host: x", "Content-Type: application/json", "Transfer-Encoding: chunked")
    sent = "\r\n".join(["POST /v1/feedback HTTP/1.1", *lines]).encode() + b"\r\n\r\n"
    trailer = f"Authorization: Bearer {key}".encode()
    found = exchange(port, sent + b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(BODY), BODY, trailer))
    assert [answer.status for answer in found] == [401]


def test_many_requests_on_one_connection_are_not_one_head(port: int) -> None:
    with connect(port) as connection:
        for _ in range(400):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 400 + b"\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "raw", ["%", "%zz", "%00", "%ff%fe", "%c0%af", "%2e%2e/", "..", "//", "%E2%80%AE", "%u0041"]
)
def test_escapes_that_are_none(port: int, key: str, raw: str) -> None:
    for path in (
        f"/v1/feedback/{raw}",
        f"/v1/themes?q={raw}",
        f"/v1/feedback?q={raw}",
        f"/{raw}",
        f"/v1/hooks/{raw}",
    ):
        for method in ("GET", "POST"):
            [answer] = exchange(
                port, head(key, "Connection: close", "Content-Length: 0", method=method, path=path)
            )
            assert answer.status < 500, (method, path)


SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("GET", "/v1/export", 200),
        ("GET", "/v1/me", 200),
        ("POST", "/v1/feedback", 202),
        ("POST", "/v1/feedback?a=b", 422),
        ("POST", "/v1/hooks/x", 401),
        ("GET", "/v1/themes/x", 404),
        ("GET", "/nothing", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", "/.env", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("DELETE", "/v1/feedback", 405),
        ("HEAD", "/healthz", 405),
        ("HEAD", "/", 405),
        ("OPTIONS", "/v1/feedback", 405),
        ("TRACE", "/v1/me", 405),
        ("PUT", "/v1/me", 405),
        ("PROPFIND", "/", 405),
    ],
)
def test_headers_of_every_answer(port: int, key: str, method: str, path: str, status: int) -> None:
    lines = (
        "Connection: close",
        "Origin: https://evil.example",
        "X-Secret-Probe: tell",
        "Content-Type: application/json",
    )
    body = BODY if method == "POST" else b""
    sent = head(key, *lines, f"Content-Length: {len(body)}", method=method, path=path) + body
    if method == "HEAD":
        [answer] = answers(_head_only(port, sent))
    else:
        [answer] = exchange(port, sent)
    assert answer.status == status
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not {"server", "x-powered-by"} & set(answer.headers)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert b"X-Secret-Probe" not in answer.body


def _head_only(port: int, sent: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(sent)
        received = rest(connection)
    assert received.partition(b"\r\n\r\n")[2] == b""  # no body
    return received.replace(b"content-length:", b"x-length:")


def test_an_upgrade_is_not_taken(port: int, key: str) -> None:
    lines = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    found = exchange(port, head(key, *lines, method="GET", path="/v1/me"))
    assert [answer.status for answer in found] == [200]
    h2c = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert {answer.status for answer in exchange(port, head(key, *h2c, method="GET", path="/v1/me"))} == {200}


def test_voice_api_serves_like_this(served_runtime: Runtime, tmp_path: Path) -> None:
    """The verb that people run has the same guards as the server of these tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"VOICE_DATABASE_URL": served_runtime.settings.database_url, "VOICE_SECRET_KEY": SECRET}
    process = subprocess.Popen(
        [sys.executable, "-m", "voice", "api", "--port", str(port)],
        cwd=tmp_path,
        env=os.environ | settings | {"VOICE_DATA_DIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not accepts(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        closing = SECOND.replace(b"Host: x", b"Host: x\r\nConnection: close")
        [answer] = exchange(port, closing)
        assert (answer.status, answer.headers.get("server")) == (200, None)
        [answer] = exchange(port, b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n")
        assert answer.status == 431
        [answer] = exchange(port, closing.replace(b"Host", b"Content-Length: 1\r\nContent-Length: 2\r\nHost"))
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    finally:
        process.terminate()
        process.wait(30)


def accepts(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionError:
        return False
    return True


@pytest.fixture(scope="module")
def client(served_runtime: Runtime, key: str) -> Iterator[TestClient]:
    with serving(served_runtime, key) as client:
        yield client


class TestBodies:
    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
    def test_compressed_bodies_are_not_unpacked(self, client: TestClient, encoding: str) -> None:
        bomb = gzip.compress(b'{"text": "' + b" " * 50_000_000 + b'bomb"}')
        assert len(bomb) < 100_000
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        refused(client.post("/v1/feedback", content=bomb, headers=headers), 400)
        batch = client.post("/v1/feedback/batch", content=bomb, headers=headers)
        assert batch.json()["stored"] == 0
        refused(client.post("/v1/hooks/x", content=bomb, headers=headers), 401)

    @pytest.mark.parametrize("depth", [50, 1_000, 100_000])
    @pytest.mark.parametrize("brackets", ["[]", "{}"])
    def test_nesting(self, client: TestClient, depth: int, brackets: str) -> None:
        opening = '{"a":' if brackets == "{}" else "["
        deep = opening * depth + "1" + brackets[1] * depth
        for body in (deep, f'{{"text": "x", "metadata": {{"a": {deep}}}}}'):
            answer = client.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 413, 422), answer.text
            batch = client.post("/v1/feedback/batch", content=body).json()
            assert batch["stored"] == 0

    def test_the_last_of_equal_keys_stands_everywhere(
        self, client: TestClient, served_runtime: Runtime
    ) -> None:
        body = b'{"source": "twice", "external_id": "%b", "text": "first", "text": "last"}'
        json_type = {"Content-Type": "application/json"}
        client.post("/v1/feedback", content=body % b"fast", headers=json_type)
        client.post("/v1/feedback", content=body % b"ordinary", headers=json_type | {"Idempotency-Key": "k"})
        client.post("/v1/feedback/batch", content=body % b"batch")
        found = items(client, source="twice")
        assert {item["text"] for item in found} == {"last"}
        assert len(found) == 3

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "",
        ],
    )
    def test_other_media_types(self, client: TestClient, kind: str) -> None:
        """A form on another site can send these without asking; none of them is read as JSON."""
        answer = client.post("/v1/themes/x/merge", content=b'{"into": "x"}', headers={"Content-Type": kind})
        refused(answer, 422)
