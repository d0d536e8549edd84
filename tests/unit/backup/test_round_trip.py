"""What goes into a backup comes back as it was, from either database into either."""

import json
import threading
import tracemalloc
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text, update

from tests.conftest import first_project, make_runtime, new_key
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from tests.unit.backup.filling import LEFT_EMPTY, ROWS, fill
from tests.unit.backup.places import MakeUrl, dumped, lines_of, made_backup, restored
from voice.accounts import authenticate, create_project
from voice.backup import back_up
from voice.backup.dump import ROWS_AT_ONCE
from voice.backup.places import closing_database
from voice.clock import utc_now
from voice.db.migrate import known_revisions, migrate
from voice.db.tables import CLAIMED, PENDING, Base, Event, Feedback
from voice.feedback.submission import Author, Submission
from voice.runtime import Runtime

KINDS = ("sqlite", "postgresql")


def post(runtime: Runtime, n: int, *, person: str = "ann") -> list[str]:
    project = first_project(runtime)
    given = [
        Submission(
            text=f"number {k} of {person}",
            external_id=f"{person} {k}",
            source="desk",
            author=Author(id=person),
        )
        for k in range(n)
    ]
    with runtime.database.write() as session:
        arrivals = [runtime.intake.prepare(project, one, now=runtime.clock()) for one in given]
        return [stored.id for stored in runtime.intake.store(session, arrivals, now=runtime.clock())]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_whatever_a_column_holds_comes_back(
    source: str, target: str, fresh_url: MakeUrl, tmp_path: Path
) -> None:
    here, there = fresh_url(source), fresh_url(target)
    with closing_database(here) as database:
        migrate(database.engine)
        fill(database)
    first, second = tmp_path / "first.backup", tmp_path / "second.backup"
    made = dumped(here, first)
    restored(first, there)
    dumped(there, second)
    assert {part.table for part in made.tables} == set(Base.metadata.tables)
    assert {part.rows for part in made.tables if part.table not in LEFT_EMPTY} == {ROWS}
    assert lines_of(second) == lines_of(first)


@pytest.mark.parametrize("target", KINDS)
def test_an_installation_goes_on_in_its_new_place(
    live: Runtime, target: str, fresh_url: MakeUrl, tmp_path: Path
) -> None:
    key = new_key(live, "viewer")
    post(live, 5)
    live.pipeline.drain()
    waiting = post(live, 3, person="bob")
    made_backup(live, tmp_path / "all.backup")
    restored(tmp_path / "all.backup", there := fresh_url(target))
    moved = make_runtime(there, tmp_path / "moved")
    moved._analyser = FakeAnalyser()
    with moved.database.read() as session:
        assert authenticate(session, key).role == "viewer"
        assert session.get_one(Feedback, waiting[0]).status == PENDING
    moved.pipeline.drain()
    assert_exact(moved.database, first_project(moved))
    with moved.database.write() as session:
        newest = session.scalar(select(func.max(Event.id))) or 0
        create_project(session, slug="next", name="next", actor="test", now=utc_now())
        assert session.scalar(select(func.max(Event.id))) == newest + 1
    moved.close()


def test_who_held_a_lease_is_gone(live: Runtime, fresh_url: MakeUrl, tmp_path: Path) -> None:
    ids = post(live, 2)
    with live.database.write() as session:
        held = {"status": CLAIMED, "lease_token": "t", "lease_until": 2**50, "attempts": 2, "alone": True}
        session.execute(update(Feedback).where(Feedback.id == ids[0]).values(**held))
    made_backup(live, tmp_path / "all.backup")
    restored(tmp_path / "all.backup", there := fresh_url("sqlite"))
    with closing_database(there) as database, database.read() as session:
        freed = session.get_one(Feedback, ids[0])
    assert (freed.status, freed.lease_token, freed.lease_until) == (PENDING, None, None)
    assert (freed.attempts, freed.alone) == (2, True)


def test_a_backup_is_of_one_moment_while_others_write(live: Runtime, tmp_path: Path) -> None:
    post(live, 300)
    writing = threading.Event()

    def meanwhile(table: str, _rows: int) -> None:
        # By now other tables have been read, or will be: none of this may be seen.
        if not writing.is_set():
            writing.set()
            writer = threading.Thread(target=post, args=(live, 50), kwargs={"person": "late"})
            writer.start()
            writer.join()

    back_up(
        live.database,
        tmp_path / "all.backup",
        secrets=live.secrets,
        clock=live.clock,
        progress=meanwhile,
    )
    assert writing.is_set()
    with live.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Feedback)) == 350
    found = lines_of(tmp_path / "all.backup")
    assert (len(found["feedback"]), len(found["people"])) == (300, 1)


def test_rows_are_read_and_written_some_at_a_time(live: Runtime, fresh_url: MakeUrl, tmp_path: Path) -> None:
    n = 2 * ROWS_AT_ONCE + 1
    row = {"project_id": first_project(live), "rows_done": 1, "updated_at": utc_now()}
    with live.database.write() as session:
        session.execute(
            insert(Base.metadata.tables["imports"]), [row | {"fingerprint": str(k)} for k in range(n)]
        )
    seen: list[int] = []
    back_up(
        live.database,
        tmp_path / "all.backup",
        secrets=live.secrets,
        clock=live.clock,
        progress=lambda table, done: seen.append(done) if table == "imports" else None,
    )
    assert seen == [ROWS_AT_ONCE, 2 * ROWS_AT_ONCE, n]
    restored(tmp_path / "all.backup", there := fresh_url("sqlite"))
    dumped(there, tmp_path / "again.backup")
    assert lines_of(tmp_path / "again.backup")["imports"] == lines_of(tmp_path / "all.backup")["imports"]


def test_json_with_line_breaks_stays_one_line(live: Runtime, fresh_url: MakeUrl, tmp_path: Path) -> None:
    with live.database.write() as session:
        session.execute(text('UPDATE topics SET examples = \'[\n  "a",\r\n "b"\n]\''))
    made_backup(live, tmp_path / "all.backup")
    restored(tmp_path / "all.backup", there := fresh_url("postgresql"))
    with closing_database(there) as database, database.read() as session:
        found = session.scalars(text("SELECT CAST(examples AS TEXT) FROM topics")).all()
    assert {tuple(json.loads(one)) for one in found} == {("a", "b")}


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_a_backup_of_an_older_schema_is_migrated(
    source: str, target: str, fresh_url: MakeUrl, tmp_path: Path
) -> None:
    oldest, *_, newest = known_revisions()
    here, there = fresh_url(source), fresh_url(target)
    with closing_database(here) as database:
        migrate(database.engine, oldest)
        fill(database)
    assert dumped(here, tmp_path / "old.backup").revision == oldest
    restored(tmp_path / "old.backup", there)
    assert dumped(there, tmp_path / "new.backup").revision == newest
    old, new = lines_of(tmp_path / "old.backup"), lines_of(tmp_path / "new.backup")
    assert set(old) < set(new)
    for table, lines in old.items():
        assert len(lines) == ROWS
        before, after = map(json.loads, lines), map(json.loads, new[table])
        assert all(one.items() <= later.items() for one, later in zip(before, after, strict=True)), table


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_rows(kind: str, fresh_url: MakeUrl, tmp_path: Path) -> None:
    """Ten times the rows, the same peak of Python's memory."""
    peaks = {}
    for n in (5_000, 50_000):
        here, there, path = fresh_url(kind), fresh_url(kind), tmp_path / f"{n}.backup"
        with closing_database(here) as database:
            migrate(database.engine)
            with database.write() as session:
                project = {"id": "p", "slug": "p", "name": "p", "created_at": utc_now()}
                session.execute(insert(Base.metadata.tables["projects"]).values(project))
                row = {"project_id": "p", "rows_done": 1, "updated_at": utc_now()}
                rows = [row | {"fingerprint": f"{k:064}"} for k in range(n)]
                session.execute(insert(Base.metadata.tables["imports"]), rows)
        del rows
        tracemalloc.start()
        dumped(here, path)
        restored(path, there)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[50_000] < peaks[5_000] + 2_000_000
