"""A clock that is hours wrong, or jumps: nothing twice, nothing never."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.schedules import BaseSchedule
from sqlalchemy import select

from tests.api.helpers import post, refused, serving
from tests.conftest import first_project, new_key
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice import ids
from voice.clock import rfc3339, utc_now
from voice.config import Settings
from voice.db.tables import Feedback, JobRun
from voice.doorbell import make_celery
from voice.feedback.claims import claim
from voice.runtime import Runtime
from voice.themes.evaluate import Evaluation
from workers import tasks
from workers.beat import Beat

HOURS = timedelta(hours=5)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def step(self, by: timedelta) -> None:
        self.now += by


def wrong_by(runtime: Runtime, offset: timedelta) -> None:
    runtime.clock = lambda: utc_now() + offset


@pytest.mark.parametrize("offset", [HOURS, -HOURS])
def test_leases_know_one_clock(
    runtime: Runtime, database_url: str, tmp_path: Path, offset: timedelta
) -> None:
    """A row that is held stays held, however late or early the other worker believes it is."""
    runtime._analyser = FakeAnalyser()
    with serving(runtime, new_key(runtime, "admin")) as client:
        post(client, "one")
    with runtime.database.write() as session:
        held = claim(session, limit=10, lease_seconds=60)
    assert held is not None
    wrong_by(runtime, offset)
    assert runtime.pipeline.drain() == 0
    with runtime.database.write() as session:
        assert session.get_one(Feedback, held.ids[0]).lease_token == held.token
        session.get_one(Feedback, held.ids[0]).lease_until = 1  # long ago
    assert runtime.pipeline.drain() == 1
    assert_exact(runtime.database, first_project(runtime))


def test_ids_rise_although_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [ids.time.time_ns()]
    monkeypatch.setattr(ids.time, "time_ns", lambda: now[0])
    made = []
    for step in (0, 0, 1, -3600, 0, -86_400, 7200, 90_000):
        now[0] += step * 1_000_000_000
        made += [ids.new_id() for _ in range(3)]
    assert made == sorted(set(made))


@pytest.mark.parametrize("offset", [HOURS, -HOURS])
def test_feedback_is_taken_and_repeated_at_a_wrong_time(sqlite_runtime: Runtime, offset: timedelta) -> None:
    sqlite_runtime._analyser = FakeAnalyser()
    key = {"Idempotency-Key": "1"}
    with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
        first = client.post("/v1/feedback", json={"text": "one"}, headers=key)
        wrong_by(sqlite_runtime, offset)
        assert client.post("/v1/feedback", json={"text": "one"}, headers=key).json() == first.json()
        assert client.post("/v1/feedback", json={"text": "two"}).status_code == 202
        assert sqlite_runtime.pipeline.drain() == 2
        wrong_by(sqlite_runtime, timedelta(0))
        assert client.post("/v1/feedback", json={"text": "one"}, headers=key).json() == first.json()
        assert client.get("/v1/status").json()["pending"] == 0
    assert_exact(sqlite_runtime.database, first_project(sqlite_runtime))


def test_what_was_made_in_the_future_is_refused(sqlite_runtime: Runtime) -> None:
    """More than ten minutes ahead of the API's clock; a clock that is behind so refuses what is honest, and says why."""
    with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
        for minutes, status in ((-300, 202), (9, 202), (11, 422)):
            made = rfc3339(utc_now() + timedelta(minutes=minutes))
            answer = client.post("/v1/feedback", json={"text": "x", "created_at": made})
            assert answer.status_code == status, answer.text
        refused(answer, 422, "created_at")
        wrong_by(sqlite_runtime, -HOURS)
        honest = {"text": "x", "created_at": rfc3339(utc_now())}
        refused(client.post("/v1/feedback", json=honest), 422, "created_at")
        wrong_by(sqlite_runtime, timedelta(0))
        assert client.post("/v1/feedback", json=honest).status_code == 202


@pytest.fixture
def evaluated(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The moments of the evaluations, which do nothing but move `evaluated_at` on, as the real ones do."""
    moments: list[datetime] = []
    evaluate = Runtime.evaluate

    def noted(live: Runtime, project_id: str, *, as_of: datetime) -> Evaluation:
        moments.append(as_of)
        return evaluate(live, project_id, as_of=as_of)

    sqlite_runtime._analyser = FakeAnalyser()
    monkeypatch.setattr(Runtime, "evaluate", noted)
    monkeypatch.setattr(tasks, "runtime", lambda: sqlite_runtime)
    return moments


@pytest.mark.parametrize("jump", [timedelta(hours=3), timedelta(days=400)])
def test_ticks_after_a_jump_forth_and_back(
    sqlite_runtime: Runtime, evaluated: list[datetime], jump: timedelta
) -> None:
    """Each tick runs once, and after the step back the next one runs although its time has been before."""
    clock = sqlite_runtime.clock = Clock(utc_now().replace(minute=1, second=0, microsecond=0))

    def beats() -> int:
        before = len(evaluated)
        with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
            post(client, "something new")
        tasks.analyse()
        for _ in range(3):
            tasks.evaluate()
        return len(evaluated) - before

    interval = timedelta(seconds=sqlite_runtime.settings.evaluate_seconds)
    assert beats() == 1
    clock.step(jump)
    assert beats() == 1
    clock.step(interval)
    assert beats() == 1
    clock.step(-jump)
    done = 0
    for _ in range(13):  # an hour and a tick
        done += beats()
        clock.step(interval)
    assert done >= 1
    assert len(evaluated) == len(set(evaluated))
    with sqlite_runtime.database.read() as session:
        runs = session.scalars(select(JobRun).where(JobRun.job.startswith("evaluate"))).all()
    assert all(run.started_at <= clock.now for run in runs)


@pytest.fixture
def beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Celery, Clock, Callable[[], list[str]]]:
    """Celery's app, its wall clock, and one wake-up of beat: what it sent."""
    app, clock, sent = make_celery(Settings(_env_file=None, data_dir=tmp_path)), Clock(utc_now()), []  # type: ignore[call-arg]
    monkeypatch.setattr(app, "now", clock)
    monkeypatch.setattr(BaseSchedule, "now", lambda _: clock())
    schedule = Beat(app=app, schedule_filename=str(tmp_path / "schedule"))
    monkeypatch.setattr(schedule, "apply_entry", lambda entry, **_: sent.append(entry.task))

    def wake() -> list[str]:
        sent.clear()
        while schedule.tick() == 0:
            pass
        return sorted(sent)

    return app, clock, wake


def test_beat_goes_on_after_its_clock_was_set_back(beat: Any) -> None:
    app, clock, wake = beat
    every = sorted(app.conf.beat_schedule)
    wake()
    clock.step(timedelta(hours=2))
    assert wake() == every
    assert wake() == []
    clock.step(-HOURS)
    assert wake() == []
    clock.step(timedelta(seconds=16))
    assert wake() == ["analyse"]
    clock.step(timedelta(hours=2))
    assert wake() == every


def test_beat_starts_with_a_schedule_from_the_future(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat: Any
) -> None:
    app, clock, _ = beat
    clock.step(HOURS)
    Beat(app=app, schedule_filename=str(tmp_path / "kept")).close()
    clock.step(-HOURS)
    sent: list[str] = []
    again = Beat(app=app, schedule_filename=str(tmp_path / "kept"))
    monkeypatch.setattr(again, "apply_entry", lambda entry, **_: sent.append(entry.task))
    again.tick()
    clock.step(timedelta(seconds=16))
    while again.tick() == 0:
        pass
    assert sent == ["analyse"]


def test_what_the_schedule_sends_is_never_too_old(tmp_path: Path) -> None:
    """A worker whose clock is ahead takes what `expires` for expired; the schedule's messages alone do not."""
    schedule = make_celery(Settings(_env_file=None, data_dir=tmp_path)).conf.beat_schedule  # type: ignore[call-arg]
    assert schedule["analyse"]
    assert not any("expires" in entry.get("options", {}) for entry in schedule.values())
