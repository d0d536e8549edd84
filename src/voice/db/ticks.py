"""One tick of a scheduled job runs once, however many beats there are."""

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from voice.clock import rfc3339
from voice.db.dialects import insert_ignoring, table_of
from voice.db.tables import JobRun

CLOCKS_DIFFER = timedelta(minutes=1)
"""How far the clocks of two machines may be apart without either thinking that the other's was set back."""

NEWEST = 10_000
"""Ticks that `last_successes` looks at."""


def take_tick(session: Session, job: str, tick: str, *, now: datetime) -> bool:
    """True for the one caller that may run this tick."""
    table = table_of(JobRun)
    # What began in the future began before the clock was set back; it must not stand for ticks that are still to come.
    ahead = JobRun.started_at > now + CLOCKS_DIFFER
    session.execute(delete(JobRun).where(JobRun.job == job, ahead))
    row = {"job": job, "tick": tick, "started_at": now}
    statement = insert_ignoring(session, table).values(**row).returning(table.c.job)
    return session.execute(statement).first() is not None


def owe(session: Session, job: str, *, now: datetime) -> None:
    """Note, with what makes it due, that a job must run: `owed` finds it until it has, whatever became of the ring."""
    row = {"job": job, "tick": rfc3339(now), "started_at": now}
    session.execute(insert_ignoring(session, table_of(JobRun)).values(**row))


def owed(session: Session, prefix: str, *, before: datetime) -> dict[str, list[str]]:
    """Jobs with this prefix that were due before a moment and have not run: job → its ticks."""
    due = select(JobRun.job, JobRun.tick).where(
        JobRun.job.startswith(prefix, autoescape=True),
        JobRun.finished_at.is_(None),
        JobRun.started_at <= before,
    )
    found: dict[str, list[str]] = {}
    for job, tick in session.execute(due.order_by(JobRun.job, JobRun.tick)):
        found.setdefault(job, []).append(tick)
    return found


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


def last_successes(session: Session, *, now: datetime) -> dict[str, datetime]:
    """When each kind of job (`evaluate` of `evaluate:PROJECT`) last ended well, of the newest ticks of the last day."""
    newest = (
        select(JobRun.job, JobRun.finished_at)
        .where(JobRun.started_at > now - timedelta(days=1), JobRun.error.is_(None))
        .order_by(JobRun.started_at.desc())
        .limit(NEWEST)
        .subquery()
    )
    ended: dict[str, datetime] = {}
    by_job = select(newest.c.job, func.max(newest.c.finished_at)).group_by(newest.c.job)
    for job, at in session.execute(by_job):
        kind = job.partition(":")[0]
        if at is not None:
            ended[kind] = max(at, ended.get(kind, at))
    return ended
