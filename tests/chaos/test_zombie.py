"""A worker that is stopped past its lease and goes on later: what it holds belongs to another by then."""

import os
import signal
import subprocess

import pytest
from sqlalchemy import select

from tests.chaos.analyser import STALLING
from tests.chaos.books import (
    Promise,
    assert_books,
    assert_current,
    assert_nothing_twice,
    held_by,
    takeovers,
    watch_takeovers,
)
from tests.chaos.floor import Floor, floor, good_texts
from tests.conftest import first_project
from tests.stories.installations import until
from voice.db.tables import Event
from voice.feedback.submission import Submission
from voice.runtime import Runtime

ROWS = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def stopped_in_a_batch(stage: Floor, *, fenced: bool) -> tuple[subprocess.Popen[bytes], dict[str, Promise]]:
    """A worker that claimed every row, is reading them, and has been stopped."""
    promises = stage.store(*good_texts(ROWS - 1), f"{STALLING} text")
    zombie = stage.worker(fenced=fenced)
    stage.ring()
    database = stage.runtime.database
    held = until(lambda: held_by(database), "the worker holds the rows")
    assert [len(ids) for ids in held.values()] == [ROWS]
    os.kill(zombie.pid, signal.SIGSTOP)
    return zombie, promises


def take_over(stage: Floor, *, fenced: bool) -> None:
    """Another worker finds the leases ended, finishes the rows one by one, and goes."""
    other = stage.worker(fenced=fenced)
    until(lambda: _rung_until_nothing_waits(stage), "another worker has finished the rows")
    stage.kill(other)


def go_on(stage: Floor, zombie: subprocess.Popen[bytes]) -> dict[str, Promise]:
    """The stopped worker goes on, ends what it was at, and then does what waits: it is alone."""
    promises = stage.store("one text more", first=ROWS)
    os.kill(zombie.pid, signal.SIGCONT)
    until(lambda: _rung_until_nothing_waits(stage), "the zombie has gone on to the next row")
    return promises


def _rung_until_nothing_waits(stage: Floor) -> bool:
    stage.ring()
    with stage.runtime.database.read() as session:
        return (
            session.connection().exec_driver_sql("SELECT count(*) FROM feedback WHERE status < 2").scalar()
            == 0
        )


def applied_by(runtime: Runtime, worker: subprocess.Popen[bytes]) -> list[list[str]]:
    """The rows of each `feedback.analysed` of this process: the stand-in's version names it."""
    wanted = select(Event.after).where(Event.kind == "feedback.analysed").order_by(Event.id)
    with runtime.database.read() as session:
        return [e["feedback"] for e in session.scalars(wanted) if e["model"] == f"slow-{worker.pid}"]


def test_a_zombie_applies_nothing_and_says_so(runtime: Runtime) -> None:
    watch_takeovers(runtime.database)
    with floor(runtime) as stage:
        zombie, promises = stopped_in_a_batch(stage, fenced=True)
        take_over(stage, fenced=True)
        assert takeovers(runtime.database) == ROWS
        later = go_on(stage, zombie)
        assert applied_by(runtime, zombie) == [[later["one text more"].id]]
        assert f'"rows": {ROWS}, "event": "lease_lost"' in stage.log_of(zombie)
        accounts = assert_books(runtime.database, [*promises.values(), *later.values()])
        assert accounts.applied == accounts.never_touched == ROWS + 1


def test_without_the_fence_the_same_checks_find_rows_applied_twice(runtime: Runtime) -> None:
    with floor(runtime) as stage:
        zombie, promises = stopped_in_a_batch(stage, fenced=False)
        take_over(stage, fenced=False)
        assert assert_books(runtime.database, promises.values()).applied == ROWS
        later = go_on(stage, zombie)
        assert [len(ids) for ids in applied_by(runtime, zombie)] == [ROWS, 1]
        with pytest.raises(AssertionError, match=f"{ROWS} rows were applied twice"):
            assert_books(runtime.database, [*promises.values(), *later.values()])


@pytest.mark.parametrize("fenced", [True, False])
def test_an_update_is_not_overwritten_by_a_worker_that_read_the_old_words(
    runtime: Runtime, fenced: bool
) -> None:
    """The zombie is slow, not stopped: new words arrive while it reads the old ones."""
    project, now = first_project(runtime), runtime.clock()

    def send(text: str) -> str:
        piece = Submission(text=text, external_id="1", metadata={"n": 0, "version": 0})
        with runtime.database.write() as session:
            [stored] = runtime.intake.store(
                session, [runtime.intake.prepare(project, piece, now=now)], now=now
            )
        return stored.id

    with floor(runtime) as stage:
        row = send(f"{STALLING} negative words")
        stage.worker(fenced=fenced)
        stage.ring()
        until(lambda: held_by(runtime.database), "the worker reads the old words")
        assert send("positive words") == row
        until(lambda: _rung_until_nothing_waits(stage), "nothing waits")
        if fenced:
            assert_current(runtime.database)
            assert_nothing_twice(runtime.database)
        else:
            with pytest.raises(AssertionError, match="1 analyses are of words that have changed since"):
                assert_current(runtime.database)
