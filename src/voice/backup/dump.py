"""Making a backup: every table as it was at one moment, while Voice runs."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Table, select

from voice import __version__
from voice.accounts import Secrets
from voice.backup.archive import FORMAT, ArchiveWriter, Manifest, Part, written
from voice.backup.lines import LineCodec, reflect
from voice.clock import Clock
from voice.db.dialects import snapshot
from voice.db.migrate import revision_of
from voice.db.session import Database
from voice.errors import NotFound

ERASURES = ("erasures", "suppressions")
"""Tables of whom a restore must not bring back: keyed hashes only."""

Progress = Callable[[str, int], None]
"""Called now and then with a table's name and how many of its rows are done."""

ROWS_AT_ONCE = 1_000


def back_up(
    database: Database, path: Path, *, secrets: Secrets, clock: Clock, progress: Progress
) -> Manifest:
    """Write every table to a new file, in one consistent view and constant memory.

    Raises Conflict when the file exists, NotFound when the database holds no Voice, OSError. Nothing is left behind
    by a failure.
    """
    return _write(database, path, None, secrets=secrets, clock=clock, progress=progress)


def export_erasures(database: Database, path: Path, *, secrets: Secrets, clock: Clock) -> Manifest:
    """Write only what tells whom a restore must not bring back. Raises as `back_up`."""
    return _write(database, path, ERASURES, secrets=secrets, clock=clock, progress=lambda *_: None)


def _write(
    database: Database,
    path: Path,
    only: tuple[str, ...] | None,
    *,
    secrets: Secrets,
    clock: Clock,
    progress: Progress,
) -> Manifest:
    with snapshot(database.engine) as connection:
        revision = revision_of(connection)
        if revision is None:
            raise NotFound("the database holds no Voice: check VOICE_DATA_DIR and VOICE_DATABASE_URL")
        as_of: datetime = clock()
        tables = reflect(connection)
        wanted = [table for name, table in tables.items() if only is None or name in only]
        with written(path) as writer:
            parts = [_table(connection, writer, table, progress) for table in wanted]
            roots = [root.name for root in secrets.ring.roots()]
            manifest = Manifest(FORMAT, __version__, revision, as_of, roots, secrets.fingerprint(), parts)
            writer.finish(manifest)
    return manifest


def _table(connection: Connection, writer: ArchiveWriter, table: Table, progress: Progress) -> Part:
    codec = LineCodec(table)

    def lines() -> Iterator[bytes]:
        rows = connection.execute(select(table), execution_options={"yield_per": ROWS_AT_ONCE})
        done = 0
        for page in rows.partitions():
            yield from map(codec.line, page)
            done += len(page)
            progress(table.name, done)

    return writer.write(str(table.name), codec.columns, lines())
