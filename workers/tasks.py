"""What workers do; each task is a few lines that call Voice."""

from datetime import datetime, timedelta

import structlog
from celery import Celery
from sqlalchemy import delete

from voice.accounts import list_projects
from voice.clock import parse_rfc3339, rfc3339
from voice.db.tables import Idempotency
from voice.db.ticks import end_tick, forget_ticks, take_tick
from voice.themes.evaluate import is_due
from workers.lifecycle import runtime

log = structlog.get_logger()


def register(app: Celery) -> None:
    """Give the app its tasks, by the names the doorbell rings."""
    for name, function in {
        "analyse": analyse,
        "evaluate": evaluate,
        "retopic": retopic,
        "tidy": tidy,
    }.items():
        app.task(function, name=name)


def analyse() -> None:
    """Analyse until nothing waits. Also the sweep: expired leases are claimed again here."""
    runtime().pipeline.drain()


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
        due = asked or is_due(session, project_id, now=as_of)
        if not due or not take_tick(session, job, tick, now=live.clock()):
            return
    error = None
    try:
        live.evaluate(project_id, as_of=as_of)
    except Exception as raised:
        error = type(raised).__name__
        log.exception("evaluate_failed", project=project_id)
    with live.database.write() as session:
        end_tick(session, job, tick, now=live.clock(), error=error)


def retopic(project: str) -> None:
    """Score stored feedback against an edited taxonomy."""
    changed = runtime().pipeline.retopic(project)
    log.info("retopic_done", project=project, changed=changed)


def tidy() -> None:
    """Forget idempotency keys after 24 hours and old ticks after a week."""
    live = runtime()
    now = live.clock()
    with live.database.write() as session:
        session.execute(delete(Idempotency).where(Idempotency.at < now - timedelta(hours=24)))
        forget_ticks(session, before=now - timedelta(days=7))


def _floor(moment: datetime, seconds: int) -> datetime:
    return moment - timedelta(seconds=moment.timestamp() % seconds)
