"""A load generator that costs little beside the server it asks: keep-alive connections, one request each at a time.

Run as a process of its own by `post.py` and `batch.py`. Reads from standard input one line of JSON: `host`, `port`,
`connections`, `seconds` (after a quarter of them to warm up) and `requests`, whole HTTP/1.1 requests as text, sent
in turn. Prints one line of JSON: `requests`, `served` (those to warm up
included), `seconds`, `failed` (answers other than 2xx) and the latencies' `p50` and `p99` in
seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop


@dataclass(frozen=True, slots=True)
class Answered:
    """What a server answered under load."""

    requests: int
    served: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def request(method: str, path: str, *, key: str = "", body: bytes = b"", media: str = "") -> str:
    """One whole HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: benchmark"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [f"Content-Type: {media}", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode()


def run(host: str, port: int, requests: Sequence[str], *, connections: int, seconds: float) -> Answered:
    """Ask a server from another process. Raises RuntimeError when an answer was not 2xx."""
    asked = {
        "host": host,
        "port": port,
        "connections": connections,
        "seconds": seconds,
        "requests": list(requests),
    }
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    found = Answered(**json.loads(done.stdout))
    if found.failed or not found.requests:
        raise RuntimeError(f"{found.requests} answers, {found.failed} of them not 2xx")
    return found


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is whole."""

    def __init__(self, requests: Iterator[bytes], ended: list[tuple[float, float, bool]]) -> None:
        self._requests = requests
        self._ended = ended
        self._pending = b""
        self._sent = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._pending += data
        head = self._pending.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._pending.lower().find(b"content-length:", 0, head)
        length = int(self._pending[at + 15 : self._pending.index(b"\r\n", at)])
        if len(self._pending) < head + 4 + length:
            return
        now = time.perf_counter()
        self._ended.append((now, now - self._sent, self._pending[9:10] == b"2"))
        self._pending = b""
        self._send()


async def _ask(asked: dict[str, object]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    requests = itertools.cycle([str(one).encode() for one in asked["requests"]])  # type: ignore[attr-defined]
    ended: list[tuple[float, float, bool]] = []
    seconds = float(str(asked["seconds"]))
    connections = [
        await loop.create_connection(
            lambda: _Connection(requests, ended), str(asked["host"]), int(str(asked["port"]))
        )
        for _ in range(int(str(asked["connections"])))
    ]
    await asyncio.sleep(seconds / 4)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    measured = [one for one in ended if one[0] >= began]
    taken = time.perf_counter() - began
    for transport, _ in connections:
        transport.abort()
    waits = sorted(latency for _, latency, _ in measured) or [0.0]
    return {
        "requests": len(measured),
        "served": len(ended),
        "seconds": taken,
        "failed": sum(not good for _, _, good in ended),
        "p50": waits[len(waits) // 2],
        "p99": waits[len(waits) * 99 // 100],
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_ask(json.loads(sys.stdin.readline())))))
