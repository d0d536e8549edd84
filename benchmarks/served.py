"""The API as `voice api` serves it, with two routes more for comparison; a process of its own for the benchmarks.

`GET /hello` is a FastAPI application of its own beside Voice's, with one route and nothing else: what this server
can do at best. `GET /dressed` is the same route inside Voice's application, behind its middleware.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.harness import environment
from benchmarks.import_real import free_port
from voice.runtime import Runtime

HOST = "127.0.0.1"
READY_SECONDS = 60.0


async def hello() -> dict[str, str]:
    """The least an API can say."""
    return {"hello": "world"}


class Beside:
    """Voice's application, and a bare one at /hello."""

    def __init__(self, voice: ASGIApp) -> None:
        self._voice = voice
        quiet = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
        bare = FastAPI(openapi_url=None, telemetry=quiet)  # as Voice's own
        bare.get("/hello")(hello)
        self._bare = bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._bare if scope.get("path") == "/hello" else self._voice
        await app(scope, receive, send)


def make() -> Beside:
    """The factory that Uvicorn calls."""
    from api.app import create_app

    app = create_app()
    app.get("/dressed")(hello)
    return Beside(app)


def cpu_seconds(process: int) -> float:
    """CPU time that a process has used, in all its threads and in the kernel. Linux only."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(runtime: Runtime) -> Iterator[tuple[int, int]]:
    """The API of an installation in a process of its own; yields its port and process id. It is stopped at the end."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, str(port)], env=environment(runtime))
    try:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if process.poll() is not None:
                raise RuntimeError("the API ended")
            try:
                if httpx.get(f"http://{HOST}:{port}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    import uvicorn

    from voice.cli.serving import SERVER

    uvicorn.run(
        "benchmarks.served:make",
        factory=True,
        host=HOST,
        port=int(sys.argv[1]),
        **SERVER,
    )
