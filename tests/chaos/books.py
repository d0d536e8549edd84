"""The books: what was promised to the sender, held against what the database has. Every control uses these checks.

They read tables only, and each can fail by itself: lost, left lying, applied twice, applied to old words, miscounted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text

from tests.chaos.analyser import NAME
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.analysis.records import Verbatim
from voice.analysis.topics import TopicSpace
from voice.db.session import Database
from voice.db.tables import ANALYSED, DEAD, Analysis, Event, Feedback

FEW = 5
"""How many offending rows a failure names."""


@dataclass
class Promise:
    """One piece as the sender knows it: the number in its metadata, and the newest version that was acknowledged."""

    n: int
    id: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Accounts:
    """What a run came to, for its report."""

    rows: int
    dead: int
    updates: int
    analysed_events: int
    applied: int
    never_touched: int
    """Rows that nobody updated and that share no response: each is in exactly one `feedback.analysed`."""


@dataclass
class _History:
    """What the event log says of one row, in order: A analysed, U updated or replayed, u one of its response was."""

    marks: list[str] = field(default_factory=list)
    own_updates: int = 0


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The database of an installation, closed at the end."""
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


def assert_nothing_lost(database: Database, promises: Iterable[Promise]) -> None:
    """Every acknowledged piece exists once, under the id that was answered, in a version no older than acknowledged."""
    stored: dict[int, list[tuple[str, int]]] = defaultdict(list)
    with database.read() as session:
        for row_id, meta in session.execute(select(Feedback.id, Feedback.meta)):
            stored[meta["n"]].append((row_id, meta["version"]))
    promised = {promise.n: promise for promise in promises}
    missing = [n for n in promised if n not in stored]
    assert not missing, f"{len(missing)} of {len(promised)} acknowledged pieces are gone: {missing[:FEW]}"
    twice = [n for n, found in stored.items() if len(found) > 1]
    assert not twice, f"{len(twice)} pieces were stored twice: {twice[:FEW]}"
    other = [n for n, p in promised.items() if stored[n][0][0] != p.id]
    assert not other, f"{len(other)} pieces have another id than was acknowledged: {other[:FEW]}"
    old = [n for n, p in promised.items() if stored[n][0][1] < p.version]
    assert not old, f"{len(old)} acknowledged updates are gone: {old[:FEW]}"


def assert_all_analysed(database: Database, *, dead: Iterable[str] = ()) -> None:
    """Every row is analysed, but for those that must be dead, which say why."""
    expected = set(dead)
    with database.read() as session:
        rows = session.execute(select(Feedback.id, Feedback.status, Feedback.last_error)).all()
        analyses = set(session.scalars(select(Analysis.feedback_id)))
    waiting = [i for i, status, _ in rows if status not in (ANALYSED, DEAD)]
    assert not waiting, f"{len(waiting)} of {len(rows)} rows were never analysed: {waiting[:FEW]}"
    assert {i for i, status, _ in rows if status == DEAD} == expected
    assert all(error for _, status, error in rows if status == DEAD), "a dead row does not say why"
    without = [i for i, status, _ in rows if status == ANALYSED and i not in analyses]
    assert not without, f"{len(without)} rows are called analysed and have no analysis: {without[:FEW]}"


def assert_nothing_twice(database: Database) -> Accounts:
    """Each content of each row was applied at most once, and the last one once.

    Read from the event log: between two `feedback.analysed` that name a row there is a `feedback.updated` of it, or
    of a row of its response (whose rating may have moved). After its last own update it is analysed. A row that
    nobody touched is therefore in exactly one event.
    """
    histories, responses = _histories(database)
    untouched = [i for i, h in histories.items() if set(h.marks) == {"A"} and i not in responses]
    counts = Counter(histories[i].marks.count("A") for i in untouched)
    twice = [i for i, h in histories.items() if "AA" in "".join(h.marks)]
    assert not twice, f"{len(twice)} rows were applied twice: {twice[:FEW]}; events a row: {dict(counts)}"
    with database.read() as session:
        statuses = dict(session.execute(select(Feedback.id, Feedback.status)).all())
        kinds = Counter(session.scalars(select(Event.kind)))
    unread = [i for i, status in statuses.items() if status == ANALYSED and not _read_last(histories.get(i))]
    assert not unread, f"{len(unread)} analysed rows have no event after their last change: {unread[:FEW]}"
    return Accounts(
        rows=len(statuses),
        dead=sum(status == DEAD for status in statuses.values()),
        updates=kinds["feedback.updated"],
        analysed_events=kinds["feedback.analysed"],
        applied=sum(h.marks.count("A") for h in histories.values()),
        never_touched=len(untouched),
    )


def _read_last(history: _History | None) -> bool:
    return history is not None and "A" in "".join(history.marks).rpartition("U")[2]


def _histories(database: Database) -> tuple[dict[str, _History], set[str]]:
    """The history of each row, and the rows that share a response."""
    with database.read() as session:
        rated = session.execute(
            select(Feedback.id, Feedback.source_id, Feedback.response_id).where(
                Feedback.response_id.is_not(None)
            )
        ).all()
        wanted = Event.kind.in_(("feedback.analysed", "feedback.updated", "feedback.replayed"))
        events = session.execute(
            select(Event.kind, Event.subject_id, Event.after).where(wanted).order_by(Event.id)
        ).all()
    together: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row_id, *response in rated:
        together[tuple(response)].add(row_id)
    siblings = {row_id: rows for rows in together.values() for row_id in rows}
    histories: dict[str, _History] = defaultdict(_History)
    for kind, subject, after in events:
        if kind != "feedback.analysed":
            histories[subject].own_updates += kind == "feedback.updated"
            for row_id in siblings.get(subject, {subject}):
                histories[row_id].marks.append("U" if row_id == subject else "u")
            continue
        named = after["feedback"]
        assert len(named) == len(set(named)) == after["n"], "an event names a row twice"
        for row_id in named:
            histories[row_id].marks.append("A")
    return histories, set(siblings)


def assert_updates_counted(database: Database, versions: dict[str, int]) -> None:
    """One event per effect: as many `feedback.updated` of a row as it had further versions (id → newest version)."""
    histories, _ = _histories(database)
    wrong = [i for i, version in versions.items() if histories[i].own_updates != version]
    assert not wrong, f"{len(wrong)} rows have more or fewer update events than updates: {wrong[:FEW]}"


def assert_current(database: Database) -> None:
    """Every analysis is what the stand-in says of the row's present words."""
    analyser, nothing = FakeAnalyser(), TopicSpace((), FakeAnalyser().embed)
    statement = (
        select(Feedback.id, Feedback.text, Analysis.sentiment, Analysis.score, Analysis.model)
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .where(Feedback.text.is_not(None), Feedback.status == ANALYSED)
    )
    with database.read() as session:
        rows = session.execute(statement).all()
    stale = []
    for row_id, words, label, score, model in rows:
        assert model.startswith(f"{NAME}-"), f"read by {model}, and not by the stand-in"
        [expected] = analyser.read([Verbatim(words.replace("poison", "cured"), None, None)], nothing)
        if (label, score) != (expected.sentiment.label, round(expected.sentiment.score * 10_000)):
            stale.append(row_id)
    assert not stale, f"{len(stale)} analyses are of words that have changed since: {stale[:FEW]}"


def assert_books(
    database: Database, promises: Iterable[Promise], *, dead: Iterable[str] = (), cured: int = 0
) -> Accounts:
    """Every check of this file, and the trends counted again from nothing.

    `dead` are the rows that must be dead now, `cured` is how many were and are not any more.
    """
    promises, dead = list(promises), set(dead)
    assert_nothing_lost(database, promises)
    assert_all_analysed(database, dead=dead)
    accounts = assert_nothing_twice(database)
    assert_updates_counted(database, {p.id: p.version for p in promises})
    assert_current(database)
    with database.read() as session:
        [project] = session.execute(text("SELECT id FROM projects")).scalars()
        died = session.scalars(select(Event.subject_id).where(Event.kind == "feedback.dead")).all()
    assert len(died) == len(set(died)) == len(dead) + cured, (
        "a row without reason, or more than one event, of its death"
    )
    assert dead <= set(died)
    assert_exact(database, project)
    return accounts


def watch_takeovers(database: Database) -> None:
    """Have the database note each time a row that somebody holds is claimed by somebody else."""
    with database.write() as session:
        session.execute(text("CREATE TABLE takeovers (feedback_id text, token text)"))
        for statement in _TRIGGERS[session.get_bind().dialect.name]:
            session.connection().exec_driver_sql(statement)


def takeovers(database: Database) -> int:
    """How many claimed rows were claimed again by another worker since `watch_takeovers`."""
    with database.read() as session:
        return session.scalar(text("SELECT count(*) FROM takeovers")) or 0


def held_by(database: Database) -> dict[str, list[str]]:
    """Lease token → ids of the rows that are claimed now."""
    with database.read() as session:
        rows = session.execute(
            text("SELECT lease_token, id FROM feedback WHERE status = 1 AND lease_token IS NOT NULL")
        )
        held: dict[str, list[str]] = defaultdict(list)
        for token, row_id in rows:
            held[token].append(row_id)
        return held


_WHEN = "OLD.lease_token IS NOT NULL AND NEW.lease_token IS NOT NULL AND OLD.lease_token <> NEW.lease_token"
_TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER takeover AFTER UPDATE OF lease_token ON feedback WHEN {_WHEN} "
        "BEGIN INSERT INTO takeovers VALUES (NEW.id, NEW.lease_token); END",
    ),
    "postgresql": (
        "CREATE FUNCTION note_takeover() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO takeovers VALUES (NEW.id, NEW.lease_token); RETURN NULL; END $$",
        f"CREATE TRIGGER takeover AFTER UPDATE OF lease_token ON feedback FOR EACH ROW WHEN ({_WHEN}) "
        "EXECUTE FUNCTION note_takeover()",
    ),
}


def shown(accounts: Any) -> str:
    """One line for the report."""
    return json.dumps(accounts, default=lambda one: {name: getattr(one, name) for name in one.__slots__})
