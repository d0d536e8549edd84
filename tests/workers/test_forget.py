"""The job `forget`: what was interrupted is finished, and what is too old goes."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.conftest import first_project
from voice.clock import DAY, utc_now
from voice.db.tables import Erasure, Feedback
from voice.feedback.submission import Submission
from voice.removal import begin
from voice.retention import parse_limits
from voice.runtime import Runtime
from workers import tasks


def store(runtime: Runtime, age: timedelta) -> None:
    project_id = first_project(runtime)
    now = utc_now()
    given = Submission(text="words", author={"id": "ada"}, created_at=now - age)
    with runtime.database.write() as session:
        runtime.intake.store(session, [runtime.intake.prepare(project_id, given, now=now)], now=now)


def left(runtime: Runtime) -> int:
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(Feedback)) or 0


def test_an_interrupted_erasure_is_finished_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "runtime", lambda: runtime)
    store(runtime, timedelta(0))
    project_id = first_project(runtime)
    asked_at = utc_now() - timedelta(minutes=11)
    with runtime.database.write() as session:
        person = runtime.secrets.person_key(project_id, "id", "ada")
        begin(
            session,
            project_id,
            people=[person],
            known_as={"addresses": {}, "address": None},
            actor="test",
            now=asked_at,
        )
    for _ in range(2):
        tasks.forget()
        assert left(runtime) == 0
    with runtime.database.read() as session:
        [erasure] = session.scalars(select(Erasure))
        assert erasure.finished_at is not None
        assert erasure.reached["feedback"] == 1


def test_what_is_too_old_goes(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "runtime", lambda: sqlite_runtime)
    store(sqlite_runtime, 31 * DAY)
    store(sqlite_runtime, 29 * DAY)
    tasks.forget()
    assert left(sqlite_runtime) == 2
    monkeypatch.setattr(sqlite_runtime, "retention", parse_limits(["*:30"]))
    tasks.forget()
    assert left(sqlite_runtime) == 1
