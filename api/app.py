"""The application: `uvicorn api.app:create_app --factory`, or `voice api`."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response

from api import errors
from api.deps import State
from api.limits import BodyLimit
from api.metrics import DOORBELL_FAILURES, REQUESTS, SECONDS
from api.routes import accounts, feedback, health, home, intake, people, themes, topics, trends
from api.schemas.common import Problem
from voice import __version__
from voice.config import Settings, load_settings
from voice.db.writer import Writer
from voice.feedback.outcomes import Stored
from voice.feedback.requests import IntakeHandler, IntakeRequest
from voice.logs import configure_logs
from voice.runtime import Runtime

log = structlog.get_logger()

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
_PROBLEM = {"model": Problem}


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The contract. FastAPI declares every error as application/json; this says what is really sent."""
        if self.openapi_schema is None:
            for path in super().openapi()["paths"].values():
                for operation in path.values():
                    for status, answer in operation["responses"].items():
                        if status >= "400":
                            schema = answer["content"]["application/json"]
                            answer["content"] = {"application/problem+json": schema}
        return super().openapi()


def create_app(settings: Settings | None = None, *, runtime: Runtime | None = None) -> FastAPI:
    """The API on these settings (from the environment when not given), or on a Runtime that a test made."""
    if runtime is None:
        settings = settings or load_settings()
        configure_logs(settings.log_level, process="api")
        runtime = Runtime(settings, on_doorbell_failure=DOORBELL_FAILURES.inc)
    app = _Api(
        title="Voice",
        version=__version__,
        description="Feedback in; sentiment, topics, themes and trends out. Errors are problem+json (RFC 9457).",
        lifespan=partial(_lifespan, runtime=runtime),
        docs_url=None,
        redoc_url=None,
        responses=dict.fromkeys(
            ("400", "401", "403", "404", "408", "409", "412", "413", "422", "429", "503"), _PROBLEM
        ),
    )
    errors.install(app)
    app.add_middleware(BodyLimit, settings=runtime.settings)
    app.middleware("http")(_observe)  # added last, so outermost: refusals of BodyLimit are seen too
    for part in (intake, feedback, themes, trends, topics, people, accounts, health, home):
        app.include_router(part.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, runtime: Runtime) -> AsyncIterator[None]:
    writer: Writer[IntakeRequest, list[Stored]] = Writer(
        runtime.database,
        IntakeHandler(runtime.intake, runtime.clock),
        max_waiting=runtime.settings.writer_queue,
        weight=lambda request: len(request.arrivals),
        after_commit=lambda: runtime.doorbell.ring("analyse"),
    )
    writer.start()
    held = State(runtime, writer)
    app.state.voice = held
    flushing = asyncio.create_task(held.keys.flush_uses())
    try:
        yield
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        await asyncio.to_thread(writer.close)
        runtime.close()


async def _observe(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    started = time.perf_counter()
    try:
        response = await call_next(request)
    except Exception as error:
        response = errors.unexpected(request, error)
    route = getattr(request.scope.get("route"), "path", "unmatched")
    REQUESTS.labels(request.method, route, response.status_code).inc()
    SECONDS.labels(request.method, route).observe(time.perf_counter() - started)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
