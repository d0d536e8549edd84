"""Prometheus metrics of the API; every name is listed in docs/operate/metrics.md."""

import math
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter, Histogram

from voice import metrics
from voice.db.session import Database
from voice.db.ticks import last_successes
from voice.feedback.claims import Backlog, backlog

REQUESTS = Counter("voice_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("voice_request_seconds", "Time to answer.", ["method", "route"])


@dataclass(frozen=True, slots=True)
class Kept:
    """What the database knows: how much waits, and when each job last ended well."""

    waiting: Backlog
    ended: dict[str, datetime]


def look(database: Database, *, now: datetime) -> Kept:
    """Ask the database. Raises SQLAlchemyError when it is away."""
    with database.read() as session:
        return Kept(backlog(session, now=now), last_successes(session, now=now))


def observe(kept: Kept | None, *, writer_waiting: int) -> None:
    """Bring up to date what is looked at only when somebody asks. What an absent database (None) knows is NaN."""
    metrics.WRITER_WAITING.set(writer_waiting)
    metrics.note_memory("api")
    if kept is None:
        metrics.DATABASE_UP.set(0)
        for gauge in (metrics.PENDING, metrics.CLAIMED, metrics.OLDEST_PENDING, metrics.DEAD):
            gauge.set(math.nan)
        return
    metrics.DATABASE_UP.set(1)
    metrics.PENDING.set(kept.waiting.pending)
    metrics.CLAIMED.set(kept.waiting.claimed)
    metrics.OLDEST_PENDING.set(kept.waiting.oldest_seconds)
    metrics.DEAD.set(kept.waiting.dead)
    for job, at in kept.ended.items():
        metrics.JOB_SUCCESS.labels(job).set(at.timestamp())
