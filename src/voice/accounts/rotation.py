"""Rotation: everything sealed under older root secrets is sealed anew under the newest one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from filelock import Timeout
from sqlalchemy import inspect, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from voice.accounts.projects import list_projects
from voice.accounts.roots import KeyFile, new_root
from voice.accounts.seal import SealRing
from voice.db.dialects import CHUNK, pick_for_update, table_of
from voice.db.session import Database
from voice.db.tables import Event, Person, Source, Vault
from voice.errors import Conflict, Unavailable
from voice.events import Change, append_all

SEALED: tuple[InstrumentedAttribute[Any], ...] = (Person.sealed, Source.secret, Vault.sealed)
"""Every column that holds what `SealRing.seal` made."""

_PASSES = 5


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did: the roots by name, newest first, rows sealed anew, and rows that no root opens."""

    roots: tuple[str, ...]
    resealed: int
    unreadable: int


Census = dict[str, Counter[str | None]]
"""Table → name of the root → rows sealed under it; None counts those that no known root opens."""


def is_anything_sealed(session: Session) -> bool:
    """Whether a root secret is needed to read this database."""
    tables = set(inspect(session.connection()).get_table_names())
    return any(
        session.scalar(select(column).where(column.is_not(None)).limit(1)) is not None
        for column in SEALED
        if column.class_.__tablename__ in tables
    )


def census(database: Database, ring: SealRing) -> Census:
    """How many rows are sealed under which root, read in short transactions."""
    found: Census = {}
    for column in SEALED:
        counted: Counter[str | None] = Counter()
        for page in _pages(database, column):
            for *_, token in page:
                root = ring.opener(token)
                counted[root.name if root else None] += 1
        found[column.class_.__tablename__] = counted
    return found


def rotate(database: Database, ring: SealRing, *, actor: str, now: datetime) -> Rotation:
    """Seal everything under the newest root secret; may be stopped at any point and run again.

    With a `KeyFile` a new root is made first, unless an unfinished rotation has made one, and the older ones are
    dropped at the end. Given roots are the operator's to drop. Recorded once per newest root as `secrets.rotated`.
    Raises Conflict while another rotation runs, Unavailable when others go on sealing under an older root.
    """
    roots = ring.source
    if not isinstance(roots, KeyFile):
        return _reseal_all(database, ring, actor=actor, now=now)
    try:
        with roots.lock.acquire(timeout=0):
            if len(roots()) == 1:
                roots.write((new_root(), *roots()))
            done = _reseal_all(database, ring, actor=actor, now=now)
            roots.write(roots()[:1])
            return done
    except Timeout:
        raise Conflict("another rotation is running") from None


def _reseal_all(database: Database, ring: SealRing, *, actor: str, now: datetime) -> Rotation:
    newest, *older = (root.name for root in ring.roots())
    resealed = 0
    # A row that somebody holds is passed over, so that nobody waits in a ring; the next pass finds it.
    for _ in range(_PASSES):
        resealed += sum(_reseal(database, ring, column) for column in SEALED)
        left = sum(census(database, ring).values(), Counter())
        if not any(left[name] for name in older):
            break
    else:
        raise Unavailable(
            "rows are still being sealed under an older root secret; "
            "restart every process with the newest one, then run this again"
        )
    if older:
        with database.write() as session:
            _record(session, newest, older, resealed, actor=actor, now=now)
    return Rotation((newest, *older), resealed, left[None])


def _reseal(database: Database, ring: SealRing, column: InstrumentedAttribute[Any]) -> int:
    """Seal one column anew, in transactions of 500 rows at most; how many rows were not under the newest root."""
    newest = ring.roots()[0]
    table, key = table_of(column.class_), _key(column)
    changed = 0
    after: Sequence[Any] | None = None
    while True:
        with database.write() as session:
            rows = session.execute(pick_for_update(session, _page(column, after))).all()
            for *place, token in rows:
                root = ring.opener(token)
                if root is not None and root.name != newest.name:
                    mine = (part == value for part, value in zip(key, place, strict=True))
                    session.execute(update(table).where(*mine).values({column.key: ring.renew(token)}))
                    changed += 1
        if len(rows) < CHUNK:
            return changed
        after = rows[-1][:-1]


def _pages(database: Database, column: InstrumentedAttribute[Any]) -> Iterator[Sequence[Any]]:
    after: Sequence[Any] | None = None
    while True:
        with database.read() as session:
            rows = session.execute(_page(column, after)).all()
        yield rows
        if len(rows) < CHUNK:
            return
        after = rows[-1][:-1]


def _page(column: InstrumentedAttribute[Any], after: Sequence[Any] | None) -> Any:
    """Select primary key and token of the next sealed rows."""
    key = _key(column)
    statement = select(*key, column).where(column.is_not(None)).order_by(*key).limit(CHUNK)
    return statement if after is None else statement.where(tuple_(*key) > tuple_(*after))


def _key(column: InstrumentedAttribute[Any]) -> tuple[Any, ...]:
    return tuple(table_of(column.class_).primary_key)


def _record(
    session: Session, newest: str, older: Sequence[str], resealed: int, *, actor: str, now: datetime
) -> None:
    recorded = (Event.kind == "secrets.rotated", Event.subject_id == newest)
    known = set(session.scalars(select(Event.project_id).where(*recorded)))
    changes = [
        Change(
            project.id,
            "secrets.rotated",
            newest,
            actor,
            now,
            before={"roots": list(older)},
            after={"root": newest, "rows": resealed},
        )
        for project in list_projects(session)
        if project.id not in known
    ]
    append_all(session, changes)
