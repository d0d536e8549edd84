"""A served API and bytes on a socket: what a client library would never send."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import uvicorn

from api.app import create_app
from voice.runtime import Runtime

PATIENCE_S = 30.0
IDLE_S = 0.25
BODY = b'{"text": "smuggled?"}'
SECOND = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Answer:
    """One HTTP answer as it came."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@contextmanager
def served(runtime: Runtime) -> Iterator[int]:
    """The API as `voice api` serves it; yields its port."""
    config = uvicorn.Config(
        create_app(runtime=runtime),
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=IDLE_S,  # type: ignore[arg-type]
        http="api.protocol:GuardedProtocol",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def head(key: str, *lines: str, method: str = "POST", path: str = "/v1/feedback") -> bytes:
    """The head of a request with these header lines."""
    given = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *lines]
    return ("\r\n".join(given) + "\r\n\r\n").encode("latin-1")


def connect(port: int) -> socket.socket:
    """A connection that gives up reading after PATIENCE_S."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def exchange(port: int, sent: bytes) -> list[Answer]:
    """Every answer to these bytes, until the server closes: at once when it refuses, else when it is kept idle."""
    with connect(port) as connection:
        with suppress(ConnectionError):  # refused before all was sent: the answer is waiting
            connection.sendall(sent)
        return answers(rest(connection))


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes; cut connections count as closed. Raises TimeoutError for one that stays."""
    parts = []
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def answers(received: bytes) -> list[Answer]:
    """The answers in what was received, whole ones only."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = Answer(int(first.split()[1]), headers)
        if answer.status == 100:
            continue
        if headers.get("transfer-encoding") == "chunked":
            answer.body, received = _chunks(received)
        else:
            length = int(headers.get("content-length", "0"))
            answer.body, received = received[:length], received[length:]
        found.append(answer)
    return found


def _chunks(received: bytes) -> tuple[bytes, bytes]:
    body = b""
    while match := re.match(rb"([0-9a-fA-F]+)\r\n", received):
        size = int(match[1], 16)
        start = match.end()
        body += received[start : start + size]
        received = received[start + size + 2 :]
        if not size:
            break
    return body, received


def whole(received: bytes) -> bool:
    """Whether a chunked answer came to its end."""
    return received.endswith(b"\r\n0\r\n\r\n")
