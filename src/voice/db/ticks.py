"""One tick of a scheduled job runs once, however many beats there are."""

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from voice.db.dialects import insert_ignoring, table_of
from voice.db.tables import JobRun


def take_tick(session: Session, job: str, tick: str, *, now: datetime) -> bool:
    """True for the one caller that may run this tick."""
    table = table_of(JobRun)
    row = {"job": job, "tick": tick, "started_at": now}
    statement = insert_ignoring(session, table).values(**row).returning(table.c.job)
    return session.execute(statement).first() is not None


def end_tick(session: Session, job: str, tick: str, *, now: datetime, error: str | None = None) -> None:
    """Note that a tick is over, and what went wrong if anything did."""
    mine = (JobRun.job == job, JobRun.tick == tick)
    session.execute(update(JobRun).where(*mine).values(finished_at=now, error=error))


def forget_ticks(session: Session, *, before: datetime) -> None:
    """Drop the memory of ticks that started before a moment."""
    session.execute(delete(JobRun).where(JobRun.started_at < before))


def recent_ticks(session: Session, job: str, *, limit: int) -> list[JobRun]:
    """The newest ticks of a job, newest first."""
    newest = select(JobRun).where(JobRun.job == job).order_by(JobRun.started_at.desc(), JobRun.tick.desc())
    return list(session.scalars(newest.limit(limit)))
