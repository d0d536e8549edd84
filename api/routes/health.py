"""Alive, ready, metrics."""

from functools import partial
from typing import Literal

from anyio import to_thread
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from api.deps import NoQuery, StateDep
from api.metrics import look, observe
from api.schemas.accounts import Health, Readiness
from voice.db.migrate import Schema, schema_of
from voice.errors import Unavailable
from voice.metrics import exposition

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="getHealth", dependencies=[NoQuery])
async def get_health() -> Health:
    """The process answers. No thread, no database: it tells nothing but that."""
    return Health(status="ok")


@router.get("/readyz", operation_id="getReadiness", dependencies=[NoQuery])
async def get_readiness(held: StateDep) -> Readiness:
    """The database answers within 3 s, its schema is this version's or a newer one, the writer runs; 503 otherwise.

    A newer schema serves because migrations only grow: see docs/develop/migrations.md.
    """
    try:
        schema = await held.probes.ask(lambda: schema_of(held.runtime.database.engine))
    except TimeoutError:
        raise Unavailable("the database does not answer") from None
    if not schema.serves:
        raise Unavailable(f"the database's schema is {schema}: voice migrate")
    if not held.writer.alive:
        raise Unavailable("the writer is not running")
    migrations: Literal["ok", "newer"] = "newer" if schema is Schema.NEWER else "ok"
    return Readiness(status="ready", database="ok", migrations=migrations, writer="ok")


@router.get("/metrics", operation_id="getMetrics", dependencies=[NoQuery], response_class=Response)
async def get_metrics(held: StateDep) -> Response:
    """Prometheus metrics; they are answered while the database is away or does not answer, too."""
    try:
        kept = await held.probes.ask(partial(look, held.runtime.database, now=held.runtime.clock()))
    except (SQLAlchemyError, TimeoutError):
        kept = None
    observe(kept, writer_waiting=held.writer.waiting)
    page = await to_thread.run_sync(exposition, limiter=held.scraping)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
