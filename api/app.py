"""The application: `uvicorn api.app:create_app --factory`, or `voice api`."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI

from api import errors
from api.deps import State
from api.fastpath import FastPath
from api.limits import BodyLimit
from api.observe import Observe
from api.routes import (
    accounts,
    export,
    feedback,
    health,
    home,
    hooks,
    intake,
    people,
    sources,
    themes,
    topics,
    trends,
)
from api.schemas.common import Problem
from api.traced import Traced
from voice import __version__, tracing
from voice.config import Settings, load_settings
from voice.db.writer import Writer
from voice.feedback.outcomes import Stored
from voice.feedback.requests import IntakeHandler, IntakeRequest
from voice.logs import configure_logs
from voice.metrics import BUILD, WRITER_CAPACITY
from voice.redaction import Redactor
from voice.runtime import Runtime

log = structlog.get_logger()

_PROBLEM = {"model": Problem}
_TELEPHONE = "+49 30 901820"
"""Read once at the start: the rules for telephone numbers load on first use, half a second that no request should wait."""


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
    own = runtime is None
    if runtime is None:
        settings = settings or load_settings()
        tracing.configure("voice-api")
        configure_logs(settings.log_level, process="api")
        runtime = Runtime(settings)
    BUILD.labels(__version__, runtime.settings.encoder).set(1)
    app = _Api(
        title="Voice",
        version=__version__,
        description="Feedback in; sentiment, topics, themes and trends out. Errors are problem+json (RFC 9457).",
        lifespan=partial(_lifespan, runtime=runtime, own=own),
        docs_url=None,
        redoc_url=None,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },  # would tell queries
        responses=dict.fromkeys(
            ("400", "401", "403", "404", "408", "409", "412", "413", "422", "429", "503"), _PROBLEM
        ),
    )
    errors.install(app)
    app.add_middleware(BodyLimit, settings=runtime.settings)
    # Added last, so outermost: refusals of BodyLimit are seen too.
    app.add_middleware(Observe, most=runtime.settings.most_in_flight)
    if tracing.is_on():
        app.add_middleware(Traced)
    parts = (intake, hooks, feedback, export, themes, trends, topics, people, sources, accounts, health, home)
    for part in parts:
        app.include_router(part.router)
    app.router.routes.insert(0, FastPath(app.router))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, *, runtime: Runtime, own: bool) -> AsyncIterator[None]:
    """`own`: this process is the API's alone, and its garbage collector is set up for serving."""
    runtime.check_secrets()
    doorbell = runtime.doorbell  # made now: one that cannot be made stops the start, not the writer
    writer: Writer[IntakeRequest, list[Stored]] = Writer(
        runtime.database,
        IntakeHandler(runtime.intake, runtime.clock),
        max_waiting=runtime.settings.writer_queue,
        weight=lambda request: len(request.arrivals),
        after_commit=lambda: doorbell.ring("analyse"),
        around=_store_span,
    )
    await asyncio.to_thread(Redactor().redact, _TELEPHONE)
    WRITER_CAPACITY.set(runtime.settings.writer_queue)
    writer.start()
    held = State(runtime, writer)
    app.state.voice = held
    flushing = asyncio.create_task(held.keys.flush_uses())
    if own:  # what is there by now stays; looking at it again and again takes a quarter of the CPU of a POST
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
    try:
        yield
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        await asyncio.to_thread(writer.close)
        runtime.close()


def _store_span(requests: Sequence[IntakeRequest]) -> AbstractContextManager[object]:
    """One span for a group of requests that are stored together, linked to theirs."""
    asked = (arrival.row["trace"] for request in requests for arrival in request.arrivals)
    return tracing.span("store", follows=asked)
