"""Alive, ready, metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from api.deps import NoQuery, StateDep
from api.metrics import observe_backlog
from api.schemas.accounts import Health, Readiness
from voice.db.migrate import is_current
from voice.errors import Unavailable
from voice.feedback.claims import backlog

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="getHealth", dependencies=[NoQuery])
def get_health() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", operation_id="getReadiness", dependencies=[NoQuery])
def get_readiness(held: StateDep) -> Readiness:
    """The database answers, its schema is current and the writer runs; 503 otherwise."""
    with held.runtime.database.read() as session:
        session.execute(text("SELECT 1"))
    if not is_current(held.runtime.database.engine):
        raise Unavailable("the database needs migration: voice migrate")
    if not held.writer.alive:
        raise Unavailable("the writer is not running")
    return Readiness(status="ready", database="ok", migrations="ok", writer="ok")


@router.get("/metrics", operation_id="getMetrics", dependencies=[NoQuery], response_class=Response)
def get_metrics(held: StateDep) -> Response:
    """Prometheus metrics."""
    with held.runtime.database.read() as session:
        observe_backlog(backlog(session, now=held.runtime.clock()), held.writer.waiting)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
