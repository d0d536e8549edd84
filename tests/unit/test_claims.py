"""Claims: who owns a row, for how long, and what becomes of rows that make their batch fail."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from tests.conftest import first_project
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.clock import utc_now
from voice.db.tables import ANALYSED, CLAIMED, DEAD, PENDING, Event, Feedback
from voice.errors import NotFound
from voice.feedback.claims import Claim, backlog, claim, fail, finish, renew, replay
from voice.feedback.submission import Submission
from voice.pipeline import Batch, Pipeline, analyse, assign, record
from voice.runtime import Runtime

Store = Callable[..., list[str]]


@pytest.fixture
def store(runtime: Runtime) -> Store:
    """Store texts as feedback; returns their ids."""

    def _store(*texts: str, **fields: str) -> list[str]:
        project = first_project(runtime)
        given = [Submission(text=text, **fields) for text in texts]
        arrivals = [runtime.intake.prepare(project, one, now=utc_now()) for one in given]
        with runtime.database.write() as session:
            return [stored.id for stored in runtime.intake.store(session, arrivals, now=utc_now())]

    return _store


def pipeline(runtime: Runtime, *, batch_size: int = 128) -> Pipeline:
    return Pipeline(
        runtime.database, FakeAnalyser(), utc_now, batch_size=batch_size, lease_seconds=60, max_attempts=5
    )


def take(runtime: Runtime, limit: int = 128, lease_seconds: int = 60) -> Claim | None:
    with runtime.database.write() as session:
        return claim(session, limit=limit, lease_seconds=lease_seconds)


def end_leases(runtime: Runtime) -> None:
    """As if a lease's time had passed."""
    with runtime.database.write() as session:
        session.execute(update(Feedback).where(Feedback.status == CLAIMED).values(lease_until=0))


def rows(runtime: Runtime) -> dict[str, Feedback]:
    with runtime.database.read() as session:
        return {row.id: row for row in session.scalars(select(Feedback).order_by(Feedback.id))}


def statuses(runtime: Runtime) -> list[int]:
    return [row.status for row in rows(runtime).values()]


def kinds(runtime: Runtime) -> list[str]:
    with runtime.database.read() as session:
        return list(session.scalars(select(Event.kind).where(Event.kind.like("feedback.%"))))


def analysed(runtime: Runtime, held: Claim) -> tuple[Batch, FakeAnalyser]:
    """What a worker holds in memory when it has read its rows and not stored the results yet."""
    worker, analyser = pipeline(runtime), FakeAnalyser()
    batch = worker._prepare(held)
    analyse(analyser, batch)
    assign(analyser, batch)
    return batch, analyser


def keep(runtime: Runtime, held: Claim, batch: Batch, analyser: FakeAnalyser) -> set[str]:
    with runtime.database.write() as session:
        return record(session, held, batch, analyser=analyser, now=utc_now())


def test_the_oldest_rows_come_first_and_no_more_than_asked(runtime: Runtime, store: Store) -> None:
    ids = sorted(store(*(f"text {n}" for n in range(5))))
    first, second, third = take(runtime, 2), take(runtime, 2), take(runtime, 2)
    assert first is not None
    assert second is not None
    assert third is not None
    assert [first.ids, second.ids, third.ids] == [ids[:2], ids[2:4], ids[4:]]
    assert len({first.token, second.token, third.token}) == 3
    assert take(runtime, 2) is None


def test_a_claimed_row_shows_as_waiting(runtime: Runtime, store: Store) -> None:
    store("one", "two")
    take(runtime, 1)
    with runtime.database.read() as session:
        waiting = backlog(session, now=utc_now())
    assert (waiting.pending, waiting.dead) == (2, 0)
    assert waiting.oldest_seconds >= 0


def test_a_worker_whose_lease_was_taken_applies_nothing(runtime: Runtime, store: Store) -> None:
    ids = store(*(f"text {n}" for n in range(20)))
    zombie = take(runtime)
    assert zombie is not None
    in_hand = analysed(runtime, zombie)
    end_leases(runtime)
    done = pipeline(runtime).drain()
    assert keep(runtime, zombie, *in_hand) == set()
    assert done == len(ids) == 20
    assert set(statuses(runtime)) == {ANALYSED}
    assert_exact(runtime.database, first_project(runtime))


def test_a_late_worker_still_finishes_what_nobody_took(runtime: Runtime, store: Store) -> None:
    ids = store("one", "two")
    held = take(runtime)
    assert held is not None
    in_hand = analysed(runtime, held)
    end_leases(runtime)
    assert keep(runtime, held, *in_hand) == set(ids)


def test_a_zombie_neither_fails_nor_renews_rows_of_another(runtime: Runtime, store: Store) -> None:
    store("one")
    zombie = take(runtime)
    end_leases(runtime)
    owner = take(runtime)
    assert zombie is not None
    assert owner is not None
    with runtime.database.write() as session:
        fail(session, zombie, error="late", max_attempts=1, now=utc_now())
        assert not renew(session, zombie, lease_seconds=60)
        assert renew(session, owner, lease_seconds=60)
        assert finish(session, zombie) == set()
    assert statuses(runtime) == [CLAIMED]
    with runtime.database.write() as session:
        assert finish(session, owner) == set(owner.ids)


def test_a_renewed_lease_is_not_taken(runtime: Runtime, store: Store) -> None:
    store("one")
    held = take(runtime, lease_seconds=0)
    assert held is not None
    with runtime.database.write() as session:
        assert renew(session, held, lease_seconds=60)
    assert take(runtime) is None


def test_a_failed_batch_is_claimed_row_by_row(runtime: Runtime, store: Store) -> None:
    ids = sorted(store("fine", "poison", "good"))
    worker = pipeline(runtime)
    assert worker.step() == 0
    assert [(row.status, row.attempts, row.alone) for row in rows(runtime).values()] == [
        (PENDING, 0, True)
    ] * 3
    held = take(runtime)
    assert held is not None
    assert held.ids == ids[:1]


def test_fresh_rows_do_not_join_a_suspect_one(runtime: Runtime, store: Store) -> None:
    suspect = store("fine", "poison")
    pipeline(runtime).step()
    fresh = store("new", "newer")
    first = take(runtime)
    second = take(runtime)
    third = take(runtime)
    assert [claimed and claimed.ids for claimed in (first, second)] == [[i] for i in sorted(suspect)]
    assert third is not None
    assert third.ids == sorted(fresh)


def test_a_suspect_row_does_not_join_fresh_ones(runtime: Runtime, store: Store) -> None:
    first, suspect, last = sorted(store("one", "two", "three"))
    with runtime.database.write() as session:
        session.execute(update(Feedback).where(Feedback.id == suspect).values(alone=True))
    together, alone = take(runtime), take(runtime)
    assert together is not None
    assert alone is not None
    assert (together.ids, alone.ids) == ([first, last], [suspect])


def test_a_poison_row_dies_alone_and_its_neighbours_are_analysed(runtime: Runtime, store: Store) -> None:
    store(*(f"text {n}" for n in range(60)))
    [poison] = store("poison")
    store(*(f"text {n}" for n in range(67)))
    assert pipeline(runtime).drain() == 127
    dead = rows(runtime)[poison]
    assert (dead.status, dead.attempts, dead.last_error) == (DEAD, 5, "ValueError")
    assert sorted(statuses(runtime)) == [ANALYSED] * 127 + [DEAD]
    assert kinds(runtime).count("feedback.dead") == 1
    with runtime.database.read() as session:
        assert backlog(session, now=utc_now()).dead == 1
    assert_exact(runtime.database, first_project(runtime))


def test_only_failures_alone_are_counted(runtime: Runtime, store: Store) -> None:
    [poison] = store("poison")
    attempts = []
    worker = pipeline(runtime)
    while worker.step() is not None:
        attempts.append((rows(runtime)[poison].attempts, rows(runtime)[poison].status))
    assert attempts == [(1, PENDING), (2, PENDING), (3, PENDING), (4, PENDING), (5, DEAD)]


def test_a_lost_lease_makes_rows_suspect_and_is_counted_when_alone(runtime: Runtime, store: Store) -> None:
    ids = sorted(store("one", "two"))
    take(runtime)
    end_leases(runtime)
    seen = []
    for _ in range(3):
        held = take(runtime)
        assert held is not None
        [row] = held.rows
        seen.append((row.id, row.attempts, row.alone))
        end_leases(runtime)
    assert seen == [(ids[0], 0, True), (ids[0], 1, True), (ids[0], 2, True)]


def test_a_row_that_kills_its_worker_five_times_is_buried(runtime: Runtime, store: Store) -> None:
    killer, neighbour = sorted(store("one", "two"))
    take(runtime)
    end_leases(runtime)
    for _ in range(5):
        held = take(runtime)
        assert held is not None
        assert held.ids == [killer]
        end_leases(runtime)
    assert pipeline(runtime).drain() == 1
    found = rows(runtime)
    assert (found[killer].status, found[killer].attempts, found[killer].last_error) == (DEAD, 5, "lease lost")
    assert found[neighbour].status == ANALYSED
    assert kinds(runtime).count("feedback.dead") == 1


def test_a_worker_that_never_pauses_buries_a_row_that_kills_too(runtime: Runtime, store: Store) -> None:
    """Under steady load no worker begins anew: burying must not wait for that."""
    [killer] = store("one")
    take(runtime)
    end_leases(runtime)
    for _ in range(5):
        take(runtime)
        end_leases(runtime)
    store("two")
    worker = pipeline(runtime)
    assert [worker.step(), worker.step(), worker.step()] == [0, 1, None]
    assert rows(runtime)[killer].status == DEAD
    assert worker._analyser.calls == [["two"]]  # type: ignore[attr-defined]


def test_a_dead_row_that_is_replayed_gets_all_its_attempts_again(runtime: Runtime, store: Store) -> None:
    [poison] = store("poison")
    worker, project = pipeline(runtime), first_project(runtime)
    worker.drain()
    with runtime.database.write() as session:
        assert replay(session, project, [poison], actor="test", now=utc_now()) == 1
    row = rows(runtime)[poison]
    assert (row.status, row.attempts, row.alone, row.last_error) == (PENDING, 0, False, None)
    with runtime.database.write() as session:
        session.execute(update(Feedback).values(text="healed"))
    assert worker.drain() == 1
    assert kinds(runtime).count("feedback.replayed") == 1


def test_only_dead_rows_of_the_project_are_replayed(runtime: Runtime, store: Store) -> None:
    [poison] = store("poison")
    pipeline(runtime).drain()
    [waiting] = store("waits")
    for project, ids in ((first_project(runtime), [poison, waiting]), ("another", [poison])):
        with pytest.raises(NotFound), runtime.database.write() as session:
            replay(session, project, ids, actor="test", now=utc_now())
    assert sorted(statuses(runtime)) == [PENDING, DEAD]


def test_an_update_fences_the_worker_that_holds_the_old_text(runtime: Runtime, store: Store) -> None:
    [first] = store("negative words", external_id="7")
    held = take(runtime)
    assert held is not None
    in_hand = analysed(runtime, held)
    assert store("positive words", external_id="7") == [first]
    assert keep(runtime, held, *in_hand) == set()
    assert statuses(runtime) == [PENDING]
    worker = pipeline(runtime)
    assert worker.drain() == 1
    with runtime.database.read() as session:
        assert session.execute(select(Feedback.text)).all() == [("positive words",)]
    assert_exact(runtime.database, first_project(runtime))


def test_workers_at_once_never_share_a_row(runtime: Runtime, store: Store) -> None:
    ids = store(*(f"text {n}" for n in range(60)))
    together = threading.Barrier(4)

    def work(_: int) -> list[str]:
        together.wait()
        mine = []
        while (held := take(runtime, limit=7)) is not None:
            mine += held.ids
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(work, range(4)))
    assert sorted(i for mine in taken for i in mine) == sorted(ids)


def test_workers_at_once_count_every_row_once(runtime: Runtime, store: Store) -> None:
    store(*(f"text {n}" for n in range(40)), "poison")
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: pipeline(runtime, batch_size=8).drain(), range(3)))
    assert sum(done) == 40
    assert_exact(runtime.database, first_project(runtime))


# SQLite has one writer at a time: there a second claim waits for the first to commit.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_does_not_wait_for_a_claim_in_progress(runtime: Runtime, store: Store) -> None:
    store("one", "two", "three")
    with runtime.database.write() as first, runtime.database.write() as second:
        mine, theirs = claim(first, limit=2, lease_seconds=60), claim(second, limit=2, lease_seconds=60)
        assert mine is not None
        assert theirs is not None
        assert not set(mine.ids) & set(theirs.ids)
        assert (len(mine.ids), len(theirs.ids)) == (2, 1)
