"""What workers do; each task is a few lines that call Voice."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps

import structlog
from celery import Celery
from sqlalchemy import delete

from voice import metrics
from voice.accounts import list_projects
from voice.analysis.topic_editing import RETOPIC
from voice.clock import parse_rfc3339, rfc3339
from voice.db.dialects import empty_log, explain_failure, is_database_trouble
from voice.db.tables import Idempotency
from voice.db.ticks import end_tick, forget_ticks, owed, recent_ticks, take_tick
from voice.feedback.requests import forget_deliveries
from voice.people import finish_erasures
from voice.retention import expire
from voice.themes.evaluate import is_due
from workers.lifecycle import runtime
from workers.measured import measured

log = structlog.get_logger()

SHIFT_SECONDS = 8.0
RING_LOST_AFTER = timedelta(minutes=1)


def register(app: Celery) -> None:
    """Give the app its tasks, by the names the doorbell rings."""
    jobs: dict[str, Callable[..., None]] = {
        "analyse": analyse,
        "evaluate": evaluate,
        "retopic": retopic,
        "forget": forget,
        "tidy": tidy,
    }
    for name, function in jobs.items():
        app.task(_unless_database_is_away(measured(name, function)), name=name, shared=False)


def _unless_database_is_away(job: Callable[..., None]) -> Callable[..., None]:
    """A job that ends with one line in the log when the database cannot serve; the next ring or tick tries again."""

    @wraps(job)
    def tried(**arguments: str) -> None:
        try:
            job(**arguments)
        except Exception as error:
            if not is_database_trouble(error):
                raise
            log.warning("database_unavailable", job=job.__name__, error=explain_failure(error))

    return tried


def analyse() -> None:
    """Analyse until nothing waits. Also the sweep: expired leases are claimed again here.

    A worker that is asked to stop ends its task first. So no task is long: whoever is not done rings for the next.
    """
    live = runtime()
    began = time.monotonic()
    live.pipeline.drain(seconds=SHIFT_SECONDS)
    if time.monotonic() - began >= SHIFT_SECONDS:
        live.doorbell.ring("analyse")


def evaluate(project: str | None = None, as_of: str | None = None) -> None:
    """Discover themes and test emergence, of one project or of all, as of now or of a past moment."""
    live = runtime()
    moment = parse_rfc3339(as_of) if as_of is not None else live.clock()
    tick = as_of or rfc3339(_floor(moment, live.settings.evaluate_seconds))
    with live.database.read() as session:
        projects = [p.id for p in list_projects(session) if project in (None, p.id)]
    for project_id in projects:
        _evaluate_once(project_id, tick=tick, as_of=moment, asked=as_of is not None)


def _evaluate_once(project_id: str, *, tick: str, as_of: datetime, asked: bool) -> None:
    live = runtime()
    job = f"evaluate:{project_id}"
    with live.database.write() as session:
        broke_off = any(run.error is not None for run in recent_ticks(session, job, limit=1))
        due = asked or broke_off or is_due(session, project_id, now=as_of)
        if not due or not take_tick(session, job, tick, now=live.clock()):
            return
    error = None
    try:
        with metrics.EVALUATION_SECONDS.time():
            live.evaluate(project_id, as_of=as_of)
    except Exception as raised:
        error = type(raised).__name__
        metrics.JOBS_FAILED.labels("evaluate").inc()
        log.exception("evaluate_failed", project=project_id)
    with live.database.write() as session:
        end_tick(session, job, tick, now=live.clock(), error=error)


def retopic(project: str | None = None) -> None:
    """Score stored feedback against an edited taxonomy: of one project, or of those whose ring was lost."""
    live = runtime()
    before = live.clock() if project is not None else live.clock() - RING_LOST_AFTER
    with live.database.read() as session:
        due = owed(session, RETOPIC + (project or ""), before=before)
    for job, ticks in due.items():
        project_id = job.removeprefix(RETOPIC)
        changed = live.pipeline.retopic(project_id)
        with live.database.write() as session:
            for tick in ticks:
                end_tick(session, job, tick, now=live.clock())
        log.info("retopic_done", project=project_id, changed=changed)


def forget() -> None:
    """Finish erasures that were interrupted, and remove what is older than its channel's limit."""
    live = runtime()
    finished = finish_erasures(live.database, live.secrets, clock=live.clock)
    expired = expire(live.database, live.retention, clock=live.clock)
    empty_log(live.database.engine)  # what a reader kept an erasure from doing
    if finished or expired:
        log.info("forgotten", erasures=finished, expired=expired)


def tidy() -> None:
    """Forget idempotency keys after 24 hours, webhook deliveries after 72, and old ticks after a week."""
    live = runtime()
    now = live.clock()
    with live.database.write() as session:
        session.execute(delete(Idempotency).where(Idempotency.at < now - timedelta(hours=24)))
        forget_deliveries(session, before=now - timedelta(hours=72))
        forget_ticks(session, before=now - timedelta(days=7))


def _floor(moment: datetime, seconds: int) -> datetime:
    return moment - timedelta(seconds=moment.timestamp() % seconds)
