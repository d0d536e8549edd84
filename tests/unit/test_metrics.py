"""The metrics module: a fork's numbers, what a scrape costs, and what is counted where."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from api.metrics import look, observe
from tests.conftest import first_project
from tests.fakes import POISON, FakeAnalyser
from voice import metrics
from voice.db.tables import JobRun
from voice.db.ticks import last_successes
from voice.feedback.claims import claim
from voice.feedback.leases import kept
from voice.feedback.submission import Submission
from voice.runtime import Runtime
from workers.measured import measured

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def value(metric: str, /, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(metric, labels) or 0.0


class Grown:
    """How much counters grew since this was made."""

    def __init__(self, *names: str) -> None:
        self._before = {name: value(name) for name in names}

    def __call__(self) -> list[float]:
        return [value(name) - before for name, before in self._before.items()]


def store(runtime: Runtime, *texts: str, external_id: str | None = None) -> None:
    project = first_project(runtime)
    arrivals = [
        runtime.intake.prepare(project, Submission(text=one, external_id=external_id), now=runtime.clock())
        for one in texts
    ]
    with runtime.database.write() as session:
        runtime.intake.store(session, arrivals, now=runtime.clock())


@pytest.fixture
def fake(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(sqlite_runtime, "_analyser", FakeAnalyser())
    return sqlite_runtime


def test_a_batch_is_counted_once_in_every_phase(fake: Runtime) -> None:
    store(fake, "one", "two", "three")
    grown = Grown("voice_analysed_rows_total", "voice_batch_rows_sum", "voice_batch_rows_count")
    phases = {p: value("voice_batch_seconds_count", phase=p) for p in ("claim", "model", "record")}
    fake.pipeline.drain()
    fake.pipeline.drain()
    assert grown() == [3, 3, 1]
    for phase, before in phases.items():
        assert value("voice_batch_seconds_count", phase=phase) == before + 1


def test_a_poisoned_row_is_counted_as_a_batch_and_then_alone(fake: Runtime) -> None:
    store(fake, "fine", POISON)
    grown = Grown("voice_batch_failures_total", "voice_rows_failed_alone_total", "voice_analysed_rows_total")
    for _ in range(fake.settings.max_attempts + 2):
        fake.pipeline.drain()
    alone = fake.settings.max_attempts
    assert grown() == [alone + 1, alone, 1]


def test_an_outcome_is_counted_when_it_is_committed_and_not_before(fake: Runtime) -> None:
    before = value("voice_intake_total", outcome="stored")
    project = first_project(fake)
    arrival = fake.intake.prepare(project, Submission(text="x"), now=NOW)

    def broken_off() -> None:
        with fake.database.write() as session:
            fake.intake.store(session, [arrival], now=NOW)
            raise LookupError

    with pytest.raises(LookupError):
        broken_off()
    assert value("voice_intake_total", outcome="stored") == before
    store(fake, "x", external_id="1")
    store(fake, "x", external_id="1")
    assert value("voice_intake_total", outcome="stored") == before + 1


def test_a_lost_lease_is_counted(fake: Runtime) -> None:
    store(fake, "x")
    with fake.database.write() as session:
        held = claim(session, limit=1, lease_seconds=60)
    assert held is not None
    with fake.database.write() as session:
        session.execute(text("UPDATE feedback SET lease_token = 'another'"))
    grown = Grown("voice_leases_lost_total")
    with kept(fake.database, held, lease_seconds=0):
        while grown() == [0]:
            time.sleep(0.01)
    assert grown() == [1]


def test_a_refused_statement_is_counted_by_its_kind(runtime: Runtime) -> None:
    sqlite = runtime.settings.is_embedded_database
    kind = "SQLITE_ERROR" if sqlite else "UndefinedTable"
    before = value("voice_database_errors_total", kind=kind)
    with pytest.raises(DBAPIError), runtime.database.read() as session:
        session.execute(text("SELECT * FROM nothing_of_this_name"))
    assert value("voice_database_errors_total", kind=kind) == before + 1


@pytest.mark.parametrize("raised", [None, ValueError])
def test_a_job_is_timed_and_its_end_is_noted(raised: type[Exception] | None) -> None:
    def job() -> None:
        if raised is not None:
            raise raised

    name = f"a job for a test {raised}"
    run: Callable[..., None] = measured(name, job)
    if raised is None:
        run()
    else:
        with pytest.raises(raised):
            run()
    assert value("voice_job_seconds_count", name=name) == 1
    assert value("voice_jobs_failed_total", name=name) == (raised is not None)
    assert (value("voice_job_last_success_timestamp_seconds", name=name) > 0) == (raised is None)


def test_the_newest_success_of_each_kind_of_job_is_read_from_its_ticks(runtime: Runtime) -> None:
    hours = [
        ("evaluate:a", 5, None),
        ("evaluate:b", 3, None),
        ("evaluate:b", 1, "ValueError"),
        ("x", 30, None),
    ]
    with runtime.database.write() as session:
        for job, ago, error in hours:
            at = NOW - timedelta(hours=ago)
            session.add(JobRun(job=job, tick=str(ago), started_at=at, finished_at=at, error=error))
        session.add(JobRun(job="x", tick="unfinished", started_at=NOW, finished_at=None, error=None))
    with runtime.database.read() as session:
        assert last_successes(session, now=NOW) == {"evaluate": NOW - timedelta(hours=3)}


def test_a_scrape_reads_indexes_and_no_whole_table(runtime: Runtime) -> None:
    """The statements that /metrics sends, as the database plans them with 20 000 analysed rows."""
    _fill(runtime)
    asked: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    observe(look(runtime.database, now=NOW), writer_waiting=0)
    event.remove(runtime.database.engine, "before_cursor_execute", note)
    assert value("voice_pending_rows") == 50
    assert value("voice_dead_rows") == 10
    assert value("voice_claimed_rows") == 0
    assert value("voice_oldest_pending_seconds") == 3600
    assert len(asked) == 4
    with runtime.database.engine.connect() as connection:
        for statement, parameters in asked:
            explain = "EXPLAIN QUERY PLAN " if runtime.settings.is_embedded_database else "EXPLAIN "
            plan = str(connection.exec_driver_sql(explain + statement, parameters).all())  # type: ignore[arg-type]
            assert "ix_" in plan, plan
            assert "Seq Scan" not in plan
            assert not any(word in plan for word in ("SCAN feedback'", "SCAN job_runs'")), plan


def _fill(runtime: Runtime) -> None:
    """20 000 analysed rows, 50 that wait, 10 dead ones, and two weeks of ticks."""
    store(runtime, "the row that is copied")
    statuses = [2] * 20_000 + [0] * 50 + [3] * 10
    with runtime.database.write() as session:
        row = dict(session.execute(text("SELECT * FROM feedback")).mappings().one())
        session.execute(text("DELETE FROM feedback"))
        names = ", ".join(row)
        slots = ", ".join(f":{name}" for name in row)
        session.execute(
            text(f"INSERT INTO feedback ({names}) VALUES ({slots})"),
            [
                {**_plain(row), "id": f"{i:026}", "status": status, "received_at": _moment(runtime, hours=1)}
                for i, status in enumerate(statuses)
            ],
        )
        at = [NOW - timedelta(minutes=5 * i) for i in range(4_000)]
        session.add_all(JobRun(job="evaluate:a", tick=str(i), started_at=m) for i, m in enumerate(at))
    with runtime.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _plain(row: dict[str, object]) -> dict[str, object]:
    return {name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in row.items()}


def _moment(runtime: Runtime, *, hours: int) -> object:
    at = NOW - timedelta(hours=hours)
    return at if not runtime.settings.is_embedded_database else at.strftime("%Y-%m-%d %H:%M:%S.%f")


SHARING = """
import os, sys
from voice import metrics
metrics.SWEEPS.inc(int(sys.argv[1]))
metrics.PROCESS_MEMORY.labels(metrics.identity()).set(7)
if os.fork() == 0:
    metrics.become("worker-0")
    metrics.SWEEPS.inc(100)
    os._exit(0)
os.wait()
print(metrics.exposition().decode())
"""


def test_processes_that_share_a_folder_add_up_and_go_on_after_a_restart(tmp_path: Path) -> None:
    def run(child: str, n: int) -> dict[tuple[str, ...], float]:
        env = {**os.environ, metrics.SHARED_FOLDER: str(tmp_path), metrics.CHILD_NAME: child}
        page = subprocess.run(
            [sys.executable, "-c", SHARING, str(n)], env=env, capture_output=True, text=True, check=True
        ).stdout
        families = text_string_to_metric_families(page)
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

    assert run("first", 1)["voice_sweeps_total",] == 101
    assert run("second", 10)["voice_sweeps_total",] == 211
    again = run("first", 1_000)
    assert again["voice_sweeps_total",] == 1_311
    assert again["voice_process_memory_bytes", "first"] == 7
    assert again["voice_process_memory_bytes", "second"] == 7
    names = {path.name.rpartition("_")[2] for path in tmp_path.iterdir()}
    assert names == {"first.db", "second.db", "worker-0.db"}
