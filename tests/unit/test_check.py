"""`voice check`: the line and the exit code that a monitor gets."""

import re
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from tests.conftest import first_project
from voice.cli.check import look
from voice.clock import utc_now
from voice.db.tables import DEAD, Feedback, JobRun, Project
from voice.feedback.submission import Submission
from voice.runtime import Runtime

LINE = re.compile(r"(OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| (?P<figures>[^|\n]+))?\n")
FIGURE = re.compile(r"'?[^'= ]+'?=-?[\d.]+(s|%|B|c)?(;[\d.:~@-]*){0,4}")
"""'label'=value[UOM];[warn];[crit];[min];[max] of the guidelines."""
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def run(runtime: Runtime, *options: str, **env: str) -> tuple[int, str]:
    """Exit code and line of the verb, both held against the guidelines."""
    given = {
        "PATH": "/usr/bin:/bin",
        "VOICE_DATA_DIR": str(runtime.settings.data_dir),
        "VOICE_DATABASE_URL": runtime.settings.database_url,
        **env,
    }
    ran = subprocess.run(
        [sys.executable, "-m", "voice", "check", *options],
        env=given,
        cwd=runtime.settings.data_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    whole = LINE.fullmatch(ran.stdout)
    assert whole is not None, ran.stdout
    assert CODES[whole[1]] == ran.returncode
    assert all(FIGURE.fullmatch(one) for one in (whole["figures"] or "").split())
    return ran.returncode, ran.stdout


def check(runtime: Runtime, *, warn: float = 300, crit: float = 900) -> tuple[int, str]:
    """The same without a process of its own."""
    found = look(runtime.settings, warn=warn, crit=crit, now=utc_now())
    return found.state, found.line()


def receive(runtime: Runtime, *, seconds_ago: int) -> None:
    at = utc_now() - timedelta(seconds=seconds_ago)
    with runtime.database.write() as session:
        arrival = runtime.intake.prepare(first_project(runtime), Submission(text="It fails."), now=at)
        runtime.intake.store(session, [arrival], now=at)


def test_all_is_well(runtime: Runtime) -> None:
    receive(runtime, seconds_ago=5)
    code, line = run(runtime)
    assert code == 0
    assert " pending=1;" in line
    assert re.search(r" oldest_pending=\d+s;300;900;0;", line)


@pytest.mark.parametrize(("age", "expected"), [(400, 1), (1_000, 2)])
def test_analysis_does_not_keep_up(sqlite_runtime: Runtime, age: int, expected: int) -> None:
    receive(sqlite_runtime, seconds_ago=age)
    assert check(sqlite_runtime)[0] == expected
    assert check(sqlite_runtime, warn=2_000, crit=3_000)[0] == 0


def test_a_dead_row_is_a_warning(sqlite_runtime: Runtime) -> None:
    receive(sqlite_runtime, seconds_ago=1)
    with sqlite_runtime.database.write() as session:
        session.execute(update(Feedback).values(status=DEAD))
    code, line = run(sqlite_runtime)
    assert (code, "dead rows: 1" in line, " dead=1;" in line) == (1, True, True)


def test_a_schedule_that_stands_still_is_a_warning(sqlite_runtime: Runtime) -> None:
    with sqlite_runtime.database.write() as session:
        session.execute(update(Project).values(created_at=utc_now() - timedelta(days=3)))
    assert check(sqlite_runtime)[0] == 1
    with sqlite_runtime.database.write() as session:
        session.add(JobRun(job="evaluate:x", tick="1", started_at=utc_now() - timedelta(minutes=30)))
    assert check(sqlite_runtime)[0] == 0
    with sqlite_runtime.database.write() as session:
        session.execute(update(JobRun).values(started_at=utc_now() - timedelta(hours=2)))
    code, line = check(sqlite_runtime)
    assert (code, "no scheduled evaluation" in line) == (1, True)


def test_the_worst_counts(sqlite_runtime: Runtime) -> None:
    receive(sqlite_runtime, seconds_ago=5_000)
    with sqlite_runtime.database.write() as session:
        session.add(JobRun(job="evaluate:x", tick="1", started_at=utc_now() - timedelta(hours=2)))
    code, line = check(sqlite_runtime)
    assert code == 2
    assert "no scheduled evaluation" in line


def test_a_schema_that_does_not_serve_is_critical(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    code, line = check(runtime)
    assert (code, "voice migrate" in line) == (2, True)


def test_no_database_is_critical_and_none_is_made(tmp_path: Path, sqlite_runtime: Runtime) -> None:
    missing = tmp_path / "missing"
    code, _ = run(sqlite_runtime, VOICE_DATA_DIR=str(missing), VOICE_DATABASE_URL="")
    assert code == 2
    assert not missing.exists()


def test_a_database_that_refuses_is_critical(sqlite_runtime: Runtime) -> None:
    code, line = run(sqlite_runtime, VOICE_DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/voice")
    assert code == 2
    assert "hunter2" not in line


def test_a_database_that_says_nothing_is_critical_in_time(sqlite_runtime: Runtime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://voice@127.0.0.1:{silent.getsockname()[1]}/voice"
        code, line = run(sqlite_runtime, "--timeout", "2", VOICE_DATABASE_URL=url)
    assert (code, line) == (2, "CRITICAL - no answer within 2 s\n")


@pytest.mark.parametrize(
    ("options", "env"),
    [
        (("--warn", "9", "--crit", "3"), {}),
        ((), {"VOICE_PORT": "ninety"}),
        ((), {"VOICE_DATABASE_URL": "mysql://x"}),
    ],
)
def test_what_cannot_be_judged_is_unknown(
    sqlite_runtime: Runtime, options: tuple[str, ...], env: dict[str, str]
) -> None:
    assert run(sqlite_runtime, *options, **env)[0] == 3


@pytest.mark.parametrize("options", [("--warn", "soon"), ("--no-such-option",)])
def test_a_wrong_option_is_unknown(options: tuple[str, ...]) -> None:
    ran = subprocess.run([sys.executable, "-m", "voice", "check", *options], capture_output=True, check=False)
    assert ran.returncode == 3


def test_help_is_no_alarm() -> None:
    ran = subprocess.run([sys.executable, "-m", "voice", "check", "--help"], capture_output=True, check=False)
    assert ran.returncode == 0
