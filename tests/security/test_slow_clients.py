"""Clients that never end, never read, or are cut off: they hold up nobody, and no half answer looks whole."""

import socket
import time

import httpx
import pytest

from tests.api.helpers import post_all, serving
from tests.security.wire import BODY, SECOND, answers, connect, exchange, head, rest, whole
from voice import exports
from voice.runtime import Runtime

pytestmark = pytest.mark.slow


class TestSlow:
    """Connections that take for ever end, and nobody else waits for them."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.protocol.HEAD_SECONDS", 0.6)
        monkeypatch.setattr("api.protocol.BODY_SECONDS", 1.5)
        monkeypatch.setattr("api.protocol.STALLED_SECONDS", 0.5)
        monkeypatch.setattr("api.protocol.LOOK_SECONDS", 0.1)
        monkeypatch.setattr("api.limits.BODY_SECONDS", 0.5)

    def test_a_head_that_dribbles(self, port: int) -> None:
        assert self._dribbled(port, b"GET /healthz HTTP/1.1\r\n", b"X: y\r\n") == b""

    def test_silence(self, port: int) -> None:
        with connect(port) as connection:
            assert rest(connection) == b""

    def test_blank_lines_for_ever(self, port: int) -> None:
        received = self._dribbled(port, SECOND, b"\r\n")
        assert [answer.status for answer in answers(received)] == [200]

    def test_a_body_that_dribbles(self, port: int, key: str) -> None:
        sent = head(key, "Content-Type: application/json", "Content-Length: 1000")
        [answer] = answers(self._dribbled(port, sent, b" "))
        assert answer.status == 408

    def test_a_body_nobody_reads(self, port: int, key: str) -> None:
        sent = head(key, "Content-Length: 100000", method="GET", path="/v1/me")
        [answer] = answers(self._dribbled(port, sent, b" "))
        assert answer.status == 200

    def test_chunks_that_dribble(self, port: int, key: str) -> None:
        sent = head(key, "Content-Type: application/json", "Transfer-Encoding: chunked")
        [answer] = answers(self._dribbled(port, sent, b"1\r\n \r\n"))
        assert answer.status == 408

    @staticmethod
    def _dribbled(port: int, sent: bytes, drop: bytes) -> bytes:
        """What is received until the server ends a connection that never falls silent."""
        received = b""
        with connect(port) as connection:
            connection.sendall(sent)
            connection.settimeout(0.1)
            for _ in range(300):
                try:
                    connection.sendall(drop)
                    part = connection.recv(65_536)
                    if not part:
                        return received
                    received += part
                except TimeoutError:
                    continue
                except ConnectionError:
                    return received
        pytest.fail("the connection stayed open")

    def test_others_do_not_wait(self, port: int, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("api.limits.BODY_SECONDS", 60.0)
        for name in ("HEAD_SECONDS", "BODY_SECONDS"):
            monkeypatch.setattr(f"api.protocol.{name}", 60.0)
        partial = [
            b"GET /healthz HTTP/1.1\r\nX: ",
            head(key, "Content-Type: application/json", "Content-Length: 1000") + b"{",
            head(key, "Transfer-Encoding: chunked", path="/v1/feedback/batch") + b"ff\r\n{",
        ]
        slow = [connect(port) for _ in range(300)]
        try:
            for n, connection in enumerate(slow):
                connection.sendall(partial[n % len(partial)])
            request = head(key, "Content-Type: application/json", f"Content-Length: {len(BODY)}") + BODY
            assert [exchange(port, request)[0].status for _ in range(20)] == [202] * 20
        finally:
            for connection in slow:
                connection.close()

    def test_a_client_that_reads_nothing(self, port: int, key: str, served_runtime: Runtime) -> None:
        with serving(served_runtime, key) as client:
            post_all(client, ({"text": "x" * 9_000, "source": "stalled"} for _ in range(1_500)))
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.settimeout(60)
            connection.connect(("127.0.0.1", port))
            connection.sendall(head(key, method="GET", path="/v1/export?source=stalled"))
            time.sleep(2)
            received = rest(connection)
        assert received.startswith(b"HTTP/1.1 200")
        assert not whole(received)

    @pytest.mark.parametrize("early", ["line-end", "half-a-head", "no-body"])
    def test_what_comes_early_does_not_cut_a_long_answer(
        self, port: int, key: str, served_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, early: str
    ) -> None:
        monkeypatch.setattr(exports, "PAGE", 1)
        with serving(served_runtime, key) as client:
            post_all(client, ({"text": str(n), "source": early} for n in range(10)))
        read_items = exports.read_items

        def slowly(*args: object, **kwargs: object) -> object:
            time.sleep(0.25)
            return read_items(*args, **kwargs)

        monkeypatch.setattr(exports, "read_items", slowly)
        request = head(key, "Content-Type: application/json", f"Content-Length: {len(BODY)}")
        sent = {"line-end": b"\r\n", "half-a-head": request[:40], "no-body": request}[early]
        path = f"/v1/export?source={early}&format=jsonl"
        with connect(port) as connection:
            connection.sendall(head(key, method="GET", path=path))
            time.sleep(0.2)
            connection.sendall(sent)
            exported, *others = answers(rest(connection))
        assert len(exported.body.splitlines()) == 10
        assert [other.status for other in others] == ([408] if early == "no-body" else [])

    @pytest.mark.parametrize("half", [b"GET /healthz", b"\r\n"])
    def test_a_second_head_that_dribbles(self, port: int, half: bytes) -> None:
        received = self._dribbled(port, SECOND + half, b"\r\n" if half == b"\r\n" else b"a")
        assert received.startswith(b"HTTP/1.1 200")

    def test_a_second_body_that_dribbles(self, port: int, key: str) -> None:
        second = head(key, "Content-Type: application/json", "Content-Length: 1000")
        received = self._dribbled(port, SECOND + second, b" ")
        assert [answer.status for answer in answers(received)] == [200, 408]


def test_an_export_that_fails_midway_does_not_look_whole(
    port: int, key: str, served_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(served_runtime, key) as client:
        post_all(client, ({"text": str(n), "source": "midway"} for n in range(9)))
    monkeypatch.setattr(exports, "PAGE", 3)
    read_items, pages = exports.read_items, iter(range(10))

    def failing(*args: object, **kwargs: object) -> object:
        if next(pages) == 2:
            raise RuntimeError("the disk is gone")
        return read_items(*args, **kwargs)

    for file_format in ("csv", "jsonl"):
        url = f"http://127.0.0.1:{port}/v1/export?source=midway&format={file_format}"
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(url, headers=headers).status_code == 200
        with monkeypatch.context() as patch:
            patch.setattr(exports, "read_items", failing)
            pages = iter(range(10))
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(url, headers=headers)
