"""`voice check`: one line and an exit code for Nagios, Icinga, Checkmk and whatever else runs their plugins.

The form is that of the Monitoring Plugins development guidelines:
https://www.monitoring-plugins.org/doc/guidelines.html
"""

import os
import signal
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from typer.core import TyperCommand

from voice.clock import utc_now
from voice.config import Settings, load_settings
from voice.db.dialects import explain_failure
from voice.db.migrate import schema_of
from voice.db.session import Database
from voice.db.tables import JobRun, Project
from voice.errors import ConfigurationError
from voice.feedback.claims import Backlog, backlog
from voice.themes.evaluate import AT_LEAST_EVERY


class State(IntEnum):
    """What a monitor understands; the numbers are exit codes."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The worst that was seen, in words without `|`, and figures in the form of performance data."""

    state: State
    text: str
    figures: str = ""

    def line(self) -> str:
        """`STATE - text | figures`."""
        return f"{self.state.name} - {self.text}" + (f" | {self.figures}" if self.figures else "")


class _Check(TyperCommand):
    """A wrong option is UNKNOWN: the usual 2 would mean CRITICAL."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.Exit:
            raise
        except Exception as error:
            error.exit_code = int(State.UNKNOWN)  # type: ignore[attr-defined]
            raise


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check", cls=_Check)(check)


def check(
    warn: Annotated[float, typer.Option(help="Age of the oldest waiting row for WARNING, in seconds.")] = 300,
    crit: Annotated[float, typer.Option(help="The same for CRITICAL.")] = 900,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds after which no answer is CRITICAL.")] = 10,
) -> None:
    """Say in one line how this installation is, for a monitor. Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""
    signal.signal(signal.SIGALRM, lambda *_: _no_answer(timeout))
    signal.alarm(timeout)
    try:
        found = look(load_settings(), warn=warn, crit=crit, now=utc_now())
    except ConfigurationError as error:
        found = Finding(State.UNKNOWN, error.detail)
    except SQLAlchemyError as error:
        found = Finding(State.CRITICAL, f"the database does not answer ({explain_failure(error)})")
    except Exception as error:
        found = Finding(State.UNKNOWN, f"the check itself failed ({type(error).__name__})")
    signal.alarm(0)
    typer.echo(found.line().replace("\n", " "))
    raise typer.Exit(int(found.state))


def _no_answer(timeout: int) -> NoReturn:
    os.write(1, f"CRITICAL - no answer within {timeout} s\n".encode())
    os._exit(State.CRITICAL)  # whatever hangs would swallow an exception


def look(settings: Settings, *, warn: float, crit: float, now: datetime) -> Finding:
    """How the installation is; `warn` and `crit` in seconds. Raises SQLAlchemyError when the database does not answer."""
    if not 0 <= warn <= crit:
        return Finding(State.UNKNOWN, "--warn must not be above --crit, nor either of them negative")
    # Connecting would make an empty file.
    file = make_url(settings.database).database
    if settings.is_embedded_database and not Path(str(file)).is_file():
        return Finding(State.CRITICAL, "there is no database in the data folder")
    database = Database(settings.database)
    try:
        schema = schema_of(database.engine)
        if not schema.serves:
            return Finding(State.CRITICAL, f"the schema of the database is {schema}: voice migrate")
        with database.read() as session:
            waiting = backlog(session, now=now)
            idle = _idle_seconds(session, now)
    finally:
        database.dispose()
    late = AT_LEAST_EVERY.total_seconds() + 2 * settings.evaluate_seconds
    return _judge(waiting, idle, warn=warn, crit=crit, late=late)


def _idle_seconds(session: Session, now: datetime) -> float:
    """Since the schedule last did something; on a new installation, since there was something to do."""
    newest = session.scalar(select(func.max(JobRun.started_at)))
    newest = newest or session.scalar(select(func.min(Project.created_at))) or now
    return max(0.0, (now - newest).total_seconds())


def _judge(waiting: Backlog, idle: float, *, warn: float, crit: float, late: float) -> Finding:
    faults = []
    state = State.OK
    if waiting.oldest_seconds > warn:
        state = State.CRITICAL if waiting.oldest_seconds > crit else State.WARNING
        faults.append(f"the oldest of {waiting.pending} waiting rows is {waiting.oldest_seconds:.0f} s old")
    if waiting.dead:
        state = max(state, State.WARNING)
        faults.append(f"dead rows: {waiting.dead}")
    if idle > late:
        state = max(state, State.WARNING)
        faults.append(f"no scheduled evaluation for {idle:.0f} s")
    figures = (
        f"oldest_pending={waiting.oldest_seconds:.0f}s;{warn:g};{crit:g};0; pending={waiting.pending};;;0; "
        f"dead={waiting.dead};0;;0; idle={idle:.0f}s;{late:g};;0;"
    )
    calm = f"{waiting.pending} rows wait, none is dead, last evaluation {idle:.0f} s ago"
    return Finding(state, "; ".join(faults) or calm, figures)
