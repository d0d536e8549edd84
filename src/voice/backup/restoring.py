"""Restoring a backup: checked before anything is touched, put in place at once, without those who were erased since."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from cryptography.fernet import InvalidToken
from sqlalchemy import Connection, Table, bindparam, delete, insert, inspect, select, update
from sqlalchemy.exc import DatabaseError, OperationalError

from voice.accounts import Secrets
from voice.accounts.seal import SealRing
from voice.accounts.secrets import STABLE, derived
from voice.accounts.vault import stable_keys
from voice.backup.archive import Archive, Manifest, Part, opened
from voice.backup.dump import ERASURES, ROWS_AT_ONCE, Progress, export_erasures
from voice.backup.lines import LineCodec, reflect
from voice.backup.places import Place
from voice.clock import Clock
from voice.db.dialects import advance_sequences
from voice.db.migrate import Schema, known_revisions, migrate, schema_of
from voice.db.session import Database
from voice.db.tables import CLAIMED, PENDING
from voice.errors import ConfigurationError, Conflict, Invalid
from voice.people import reapply_erasures

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: the backup, how much feedback of erased people was left out, and what to know of it."""

    manifest: Manifest
    erased: int
    notes: tuple[str, ...]


class _Sealed(msgspec.Struct):
    name: str
    sealed: bytes


def restore(
    path: Path,
    place: Place,
    *,
    ring: SealRing,
    erasures: Path | None,
    replace: bool,
    clock: Clock,
    progress: Progress,
) -> Restored:
    """Put a backup in the place of a database, and erase again whoever was erased since it was made.

    Who was erased is read from the database that is replaced and from a file of `export_erasures`. Nothing is touched
    until all of it is checked, and the old database stays until the new one is whole.

    Raises Invalid for a file that is damaged, newer than this code or of other root secrets; Conflict when the place
    is in use, or holds data and `replace` is not given; OSError.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(opened(path))
        archive.verify()
        _refuse_newer(archive)
        secrets = _secrets_of(archive, ring)
        notes = _roots_missing(archive.manifest, ring)
        carried = []
        if erasures is not None:
            carried.append(_opened_erasures(stack, erasures, secrets))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voice-restore-")))
        with place.old() as old:
            if old is not None:
                notes += _look_at(old, replace=replace)
                carried += _erasures_of(stack, old, folder / "erasures", ring, clock, notes)
        with place.rebuilt() as database:
            _load(database, archive, progress)
            for found in carried:
                _carry_over(database, found)
            erased = reapply_erasures(database, secrets, clock=clock)
    return Restored(archive.manifest, erased, tuple(notes))


def _refuse_newer(archive: Archive) -> None:
    manifest = archive.manifest
    if manifest.revision not in known_revisions():
        raise Invalid(
            f"{archive.path}: made by Voice {manifest.voice}, whose schema {manifest.revision} this version does "
            "not know; restore it with that version or a newer one"
        )


def _secrets_of(archive: Archive, ring: SealRing) -> Secrets:
    """The secrets that the data in a backup was made with. Raises Invalid when the ring does not have them."""
    kept: dict[str, bytes] = {}
    if vault := archive.part("vault"):
        rows = (msgspec.json.decode(line, type=_Sealed) for line in archive.lines(vault))
        kept = {row.name: row.sealed for row in rows if row.name in STABLE}
    for root in ring.roots():
        try:
            keys = derived(root.secret) | {name: ring.open(sealed) for name, sealed in kept.items()}
        except InvalidToken:
            break
        secrets = Secrets(ring, keys.copy)
        if secrets.fingerprint() == archive.manifest.keys:
            return secrets
    raise Invalid(
        f"{archive.path}: made under another root secret ({archive.manifest.roots[0]}); put the secret.key, or the "
        "VOICE_SECRET_KEY, of that installation in place"
    )


def _roots_missing(manifest: Manifest, ring: SealRing) -> list[str]:
    known = {root.name for root in ring.roots()}
    missing = [name for name in manifest.roots if name not in known]
    return [f"what root secret {name} sealed cannot be read without it" for name in missing]


def _opened_erasures(stack: ExitStack, path: Path, secrets: Secrets) -> Archive:
    archive = stack.enter_context(opened(path))
    archive.verify()
    _refuse_newer(archive)
    if archive.manifest.keys != secrets.fingerprint():
        raise Invalid(f"{path}: its keyed hashes are of another installation than the backup's")
    return archive


def _look_at(old: Database, *, replace: bool) -> list[str]:
    """Refuse to replace what may be wanted; what is to be known of it. Raises Conflict."""
    try:
        with old.engine.connect() as connection:
            schema = schema_of(connection)
            if schema is Schema.NEWER:
                raise Conflict("the database is of a newer version of Voice: restore with that version")
            holds = _holds_data(connection)
        notes = []
    except DatabaseError as error:
        if isinstance(error, OperationalError):
            raise
        holds, notes = True, [_UNREADABLE]
    if holds and not replace:
        what = "cannot be read" if notes else "is not empty"
        raise Conflict(f"the database {what}; to replace all of it, add --yes")
    return notes


_UNREADABLE = (
    "the replaced database could not be read: people erased since the backup come back, but for --erasures"
)


def _holds_data(connection: Connection) -> bool:
    """True when a key or feedback is there, or tables that are not Voice's; a fresh `voice migrate` leaves neither."""
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        return bool(names)
    tables = reflect(connection)
    return any(connection.execute(select(tables[name]).limit(1)).first() for name in ("keys", "feedback"))


def _erasures_of(
    stack: ExitStack, old: Database, path: Path, ring: SealRing, clock: Clock, notes: list[str]
) -> list[Archive]:
    """The erasures of the database that is replaced, on disk: it will be gone."""
    try:
        with old.read() as session:
            connection = session.connection()
            if schema_of(connection) is Schema.EMPTY:
                return []
            keys = stable_keys(session, ring)
        export_erasures(old, path, secrets=Secrets(ring, keys.copy), clock=clock)
    except ConfigurationError:
        notes.append("the replaced database is of another root secret: its erasures mean nothing here")
        return []
    except DatabaseError as error:
        if isinstance(error, OperationalError):
            raise
        return []  # said already
    return [stack.enter_context(opened(path))]


def _load(database: Database, archive: Archive, progress: Progress) -> None:
    """Fill an empty database with a backup at its own revision, then migrate to this code's."""
    with database.write() as session:
        connection = session.connection()
        migrate(connection, archive.manifest.revision)
        tables = reflect(connection)
        if unknown := [part.table for part in archive.manifest.tables if part.table not in tables]:
            raise Invalid(f"{archive.path}: holds tables that its schema does not have: {', '.join(unknown)}")
        for name, table in tables.items():
            if part := archive.part(name):
                done = 0
                for rows in _pages(archive, part, table):
                    connection.execute(insert(table), rows)
                    done += len(rows)
                    progress(name, done)
        _end_leases(connection, tables["feedback"])
        migrate(connection)
        advance_sequences(connection, list(tables.values()))


def _end_leases(connection: Connection, feedback: Table) -> None:
    """Whoever held a lease is not there any more."""
    freed = {"status": PENDING, "lease_token": None, "lease_until": None}
    connection.execute(update(feedback).where(feedback.c.status == CLAIMED).values(freed))


def _carry_over(database: Database, found: Archive) -> None:
    """Add erasures and suppressions to those of the backup, for the projects it has."""
    with database.write() as session:
        connection = session.connection()
        tables = reflect(connection)
        projects = set(connection.scalars(select(tables["projects"].c.id)))
        for name in ERASURES:
            if part := found.part(name):
                for page in _pages(found, part, tables[name]):
                    _put(connection, tables[name], [row for row in page if row["project_id"] in projects])


def _put(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows, or replace those with the same primary key."""
    if rows:
        mine = [column == bindparam(f"old_{column.name}") for column in table.primary_key]
        keys = [{f"old_{column.name}": row[column.name] for column in table.primary_key} for row in rows]
        connection.execute(delete(table).where(*mine), keys)
        connection.execute(insert(table), rows)


def _pages(archive: Archive, part: Part, table: Table) -> Iterator[Rows]:
    """The rows of one table, some at a time. Raises Invalid when a line is not a row of it."""
    try:
        codec = LineCodec(table, part.columns)
        rows = map(codec.row, archive.lines(part))
        while page := list(islice(rows, ROWS_AT_ONCE)):
            yield page
    except (KeyError, msgspec.MsgspecError):
        raise Invalid(f"{archive.path}: {part.table} is not of its schema") from None
