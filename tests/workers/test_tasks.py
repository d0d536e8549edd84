"""What workers do: a tick runs once, errors are recorded, a lost bell is survived, and no log quotes feedback."""

import io
import json
import logging
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from api.app import create_app
from tests.conftest import OPEN_LIMITS, SECRET, first_project, make_runtime, new_key
from tests.fakes import POISON, FakeAnalyser
from tests.logs import left_as_it_was
from voice import doorbell
from voice.accounts import create_project
from voice.analysis.topic_editing import edit_topic, list_topics
from voice.config import Settings
from voice.db.tables import Event, Feedback, Idempotency, JobRun, Project
from voice.db.ticks import take_tick
from voice.doorbell import JOB_QUEUES, QUEUES, CeleryDoorbell, make_celery
from voice.feedback.submission import Submission
from voice.logs import configure_logs
from voice.metrics import DOORBELL_FAILURES
from voice.pipeline import Pipeline
from voice.runtime import Runtime
from voice.themes.evaluate import Evaluation
from workers import tasks

NOTHING = Evaluation(items=0, born=0, absorbed=0, moved=0, emerging=0)
MARKER = "xylophone"
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def live(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The Runtime that the tasks find, on stand-in models."""
    return at_work(runtime, monkeypatch)


@pytest.fixture
def small(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The same on SQLite alone."""
    return at_work(sqlite_runtime, monkeypatch)


def at_work(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(runtime, "_analyser", FakeAnalyser())
    monkeypatch.setattr(tasks, "runtime", lambda: runtime)
    return runtime


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, datetime]]:
    """The evaluations that were asked for, none of which does anything."""
    asked: list[tuple[str, datetime]] = []

    def note(_: Runtime, project_id: str, *, as_of: datetime) -> Evaluation:
        asked.append((project_id, as_of))
        return NOTHING

    monkeypatch.setattr(Runtime, "evaluate", note)
    return asked


def post(runtime: Runtime, *texts: str) -> None:
    project = first_project(runtime)
    arrivals = [runtime.intake.prepare(project, Submission(text=one), now=runtime.clock()) for one in texts]
    with runtime.database.write() as session:
        runtime.intake.store(session, arrivals, now=runtime.clock())


def runs(runtime: Runtime) -> list[JobRun]:
    with runtime.database.read() as session:
        return list(session.scalars(select(JobRun).order_by(JobRun.started_at, JobRun.tick)))


def count(runtime: Runtime, table: type) -> int:
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_analyse_empties_the_queue(live: Runtime) -> None:
    post(live, "one", "two")
    tasks.analyse()
    with live.database.read() as session:
        assert list(session.scalars(select(Feedback.status))) == [2, 2]


def test_two_beats_at_once_run_a_tick_once(live: Runtime, evaluated: list[Any]) -> None:
    together = threading.Barrier(4)

    def beat(_: int) -> None:
        together.wait()
        tasks.evaluate(as_of="2026-01-01T00:00:00Z")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(beat, range(4)))
    assert evaluated == [(first_project(live), datetime(2026, 1, 1, tzinfo=UTC))]
    [run] = runs(live)
    assert (run.job, run.error) == (f"evaluate:{first_project(live)}", None)
    assert run.finished_at is not None


def test_beats_that_drift_share_the_tick_of_their_interval(
    small: Runtime, evaluated: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    for seconds in (0, 2, 290, 299, 310):
        monkeypatch.setattr(small, "clock", lambda later=seconds: start + timedelta(seconds=later))
        tasks.evaluate()
    assert [run.tick for run in runs(small)] == ["2026-01-01T12:00:00Z", "2026-01-01T12:05:00Z"]
    assert len(evaluated) == 2


def test_a_tick_is_taken_once_per_job(live: Runtime) -> None:
    with live.database.write() as session:
        now = live.clock()
        assert take_tick(session, "a", "1", now=now)
        assert not take_tick(session, "a", "1", now=now)
        assert take_tick(session, "b", "1", now=now)
        assert take_tick(session, "a", "2", now=now)


def test_nothing_new_is_not_evaluated_again(small: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    now = small.clock()
    for minutes, due in ((0, 1), (10, 1), (30, 1), (70, 2)):
        monkeypatch.setattr(small, "clock", lambda later=minutes: now + timedelta(minutes=later))
        tasks.evaluate()
        assert len(runs(small)) == due
    monkeypatch.setattr(small, "clock", lambda: now + timedelta(minutes=75))
    post(small, "something new")
    tasks.analyse()
    monkeypatch.setattr(small, "clock", lambda: now + timedelta(minutes=80))
    tasks.evaluate()
    assert len(runs(small)) == 3
    with small.database.read() as session:
        assert session.get_one(Project, first_project(small)).evaluated_at == now + timedelta(minutes=80)


def test_an_error_is_recorded_and_the_next_tick_runs(live: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError(MARKER)

    with live.database.write() as session:
        create_project(session, slug="other", name="Other", actor="t", now=live.clock())
    monkeypatch.setattr(Runtime, "evaluate", fails)
    tasks.evaluate(as_of="2026-01-01T00:00:00Z")
    assert [run.error for run in runs(live)] == ["ZeroDivisionError"] * 2
    assert all(run.finished_at is not None for run in runs(live))
    monkeypatch.undo()
    at_work(live, monkeypatch)
    tasks.evaluate(as_of="2026-01-02T00:00:00Z")
    assert [run.error for run in runs(live)] == ["ZeroDivisionError"] * 2 + [None] * 2


def test_one_project_alone_can_be_asked_for(small: Runtime, evaluated: list[Any]) -> None:
    with small.database.write() as session:
        other = create_project(session, slug="other", name="Other", actor="t", now=small.clock()).id
    tasks.evaluate(project=other, as_of="2026-01-01T00:00:00Z")
    assert [project for project, _ in evaluated] == [other]


def test_retopic_reads_the_edited_taxonomy(small: Runtime) -> None:
    post(small, "words")
    tasks.analyse()
    project = first_project(small)
    with small.database.write() as session:
        edit_topic(
            session,
            list_topics(session, project)[0],
            {"description": "words"},
            version=None,
            actor="t",
            now=small.clock(),
        )
    tasks.retopic(project)
    with small.database.read() as session:
        assert "feedback.analysed" in list(session.scalars(select(Event.kind)))


def test_tidy_forgets_what_is_old_and_keeps_the_rest(live: Runtime) -> None:
    now = live.clock()
    key = new_key(live, "ingest")
    with live.database.write() as session:
        from voice.accounts import authenticate

        principal = authenticate(session, key)
        assert principal is not None
        for hours in (1, 23, 25, 99):
            at = now - timedelta(hours=hours)
            session.add(
                Idempotency(key_id=principal.key_id, token=f"{hours}", body_hash="", answer={}, at=at)
            )
        for days in (99, 8, 6, 1):
            take_tick(session, "job", f"{days}", now=now - timedelta(days=days))
    tasks.tidy()
    with live.database.read() as session:
        assert set(session.scalars(select(Idempotency.token))) == {"1", "23"}
        assert set(session.scalars(select(JobRun.tick))) == {"1", "6"}


def test_every_job_has_its_task_queue_and_schedule(tmp_path: Path) -> None:
    app = make_celery(Settings(_env_file=None, data_dir=tmp_path))
    tasks.register(app)
    mine = {name for name in app.tasks if not name.startswith("celery.")}
    assert mine == JOB_QUEUES.keys()
    assert set(JOB_QUEUES.values()) <= set(QUEUES)
    assert {job["task"] for job in app.conf.beat_schedule.values()} <= mine
    assert app.conf.beat_schedule["analyse"]["schedule"] == 15.0


def sent(bell: CeleryDoorbell) -> None:
    """Return when every ring has been sent or given up."""
    bell._sender.submit(lambda: None).result()


def test_a_ring_is_an_empty_message_in_the_right_queue(tmp_path: Path) -> None:
    bell = CeleryDoorbell(Settings(_env_file=None, data_dir=tmp_path))
    bell.ring("analyse")
    sent(bell)
    [message] = (tmp_path / "broker" / "messages").iterdir()
    assert message.name.endswith(".analyse.msg")
    body = json.loads(message.read_text())
    assert body["headers"]["expires"]
    assert json.loads(b64decode(body["body"]))[:2] == [[], {}]


def test_rings_that_wait_are_one(tmp_path: Path) -> None:
    bell = CeleryDoorbell(Settings(_env_file=None, data_dir=tmp_path))
    go = threading.Event()
    bell._sender.submit(go.wait)
    for _ in range(100):
        bell.ring("analyse")
        bell.ring("evaluate", project="p")
    go.set()
    sent(bell)
    assert len(list((tmp_path / "broker" / "messages").iterdir())) == 2
    bell.ring("analyse")
    sent(bell)
    assert len(list((tmp_path / "broker" / "messages").iterdir())) == 3


def test_a_broker_that_is_away_is_counted_and_left_alone_for_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = CeleryDoorbell(Settings(_env_file=None, data_dir=tmp_path, broker_url=NOBODY))
    before = DOORBELL_FAILURES._value.get()
    now = [100.0]
    monkeypatch.setattr(doorbell, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for second, heard in ((100.0, 1), (100.5, 1), (101.5, 2)):
        now[0] = second
        bell.ring("analyse")
        sent(bell)
        assert DOORBELL_FAILURES._value.get() - before == heard


def test_feedback_is_stored_although_nobody_hears_the_bell(sqlite_url: str, tmp_path: Path) -> None:
    given = {"data_dir": tmp_path, "database_url": sqlite_url, "secret_key": SECRET, **OPEN_LIMITS}
    settings = Settings(_env_file=None, broker_url=NOBODY, **given)
    runtime = Runtime(settings)
    runtime.migrate()
    before = DOORBELL_FAILURES._value.get()
    with TestClient(create_app(runtime=runtime)) as client:
        key = new_key(runtime, "ingest")
        answer = client.post("/v1/feedback", json={"text": "x"}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 202
    assert isinstance(runtime.doorbell, CeleryDoorbell)
    sent(runtime.doorbell)
    assert DOORBELL_FAILURES._value.get() == before + 1
    assert count(runtime, Feedback) == 1
    runtime.close()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything that any logger writes at DEBUG, as a process of ours would write it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with left_as_it_was(monkeypatch):
        configure_logs("DEBUG", process="test")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's own client, which names every URL
        yield stream


def test_no_log_line_quotes_feedback(
    sqlite_url: str, tmp_path: Path, captured: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = at_work(make_runtime(sqlite_url, tmp_path, log_level="DEBUG"), monkeypatch)
    words = f"the {MARKER} fails"
    with TestClient(create_app(runtime=live), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {new_key(live, 'admin')}"
        assert client.post("/v1/feedback", json={"text": words}).status_code == 202
        assert client.post("/v1/feedback", json={"text": words, MARKER: words}).status_code == 422
        assert client.post("/v1/feedback/batch", content=json.dumps({"text": words})).status_code == 200
        assert client.get("/v1/feedback", params={"q": MARKER}).status_code == 200
        with monkeypatch.context() as patched:
            patched.setattr(live.intake, "_redacted", _raises(RuntimeError(words)))
            assert client.post("/v1/feedback", json={"text": words}).status_code == 500
        with monkeypatch.context() as patched:
            error = IntegrityError(f"INSERT {words}", {"text": words}, Exception(words))
            patched.setattr(live.intake, "store", _raises(error))
            assert client.post("/v1/feedback", json={"text": words}).status_code == 500
    tasks.analyse()
    post(live, f"{POISON} {words}", words)
    tasks.analyse()
    with monkeypatch.context() as patched:
        patched.setattr(Runtime, "evaluate", _raises(RuntimeError(words)))
        tasks.evaluate(as_of="2026-01-01T00:00:00Z")
    with monkeypatch.context() as patched:
        patched.setattr(Pipeline, "drain", _raises(ValueError(f"'{words}'\nin two lines")))
        as_celery_runs_it("analyse")
    logged = captured.getvalue()
    live.close()
    for event in ("batch_failed", "evaluate_failed", "request_failed", "raised unexpected: ValueError"):
        assert event in logged
    assert MARKER not in logged
    assert all(json.loads(line)["process"] == "test" for line in logged.splitlines())


def _raises(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def as_celery_runs_it(name: str) -> None:
    """With Celery's own logging of what a task raises."""
    app = Celery("voice", set_as_current=False)
    tasks.register(app)
    app.finalize()
    build_tracer(name, app.tasks[name], app=app)("id", (), {}, {"id": "id"})


def test_an_edit_whose_ring_was_lost_is_made_good(live: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    post(live, "words")
    tasks.analyse()
    project = first_project(live)
    with live.database.write() as session:
        edit_topic(
            session,
            list_topics(session, project)[0],
            {"description": "other words"},
            version=None,
            actor="t",
            now=live.clock(),
        )
    scored: list[str] = []
    monkeypatch.setattr(Pipeline, "retopic", lambda _, project_id: scored.append(project_id) or 0)
    tasks.retopic()
    assert scored == []  # its ring may still be heard
    now = live.clock()
    monkeypatch.setattr(live, "clock", lambda: now + timedelta(minutes=2))
    tasks.retopic()
    assert scored == [project]
    tasks.retopic()
    assert scored == [project]


def test_an_evaluation_that_broke_off_is_tried_at_the_next_tick(
    small: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = small.clock()

    def breaks_off(live: Runtime, project_id: str, *, as_of: datetime) -> Evaluation:
        with live.database.write() as session:
            session.get_one(Project, project_id).evaluated_at = as_of
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Runtime, "evaluate", breaks_off)
        tasks.evaluate()
    for minutes, begun in ((10, 2), (20, 2)):
        monkeypatch.setattr(small, "clock", lambda later=minutes: now + timedelta(minutes=later))
        tasks.evaluate()
        assert len(runs(small)) == begun
    assert [run.error for run in runs(small)] == ["ZeroDivisionError", None]
