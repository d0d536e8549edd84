"""Where a restore goes: a SQLite file that is built beside and swapped, or a PostgreSQL database in one transaction.

Either way the old database is there, whole, until the new one is.
"""

import os
import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url, text
from sqlalchemy.orm import Session

from voice.db.dialects import unhurried
from voice.db.migrate import Schema, migrate, schema_of
from voice.db.session import Database
from voice.db.tables import Base
from voice.errors import Conflict
from voice.files import private, sync_folder

_NOTICED_AFTER_S = 3.0
"""How long PostgreSQL may take to notice that a connection of ours has ended."""
_LOCK_TIMEOUT = "10s"
_IN_USE = "the database is in use: stop Voice and every worker, then restore"


class Place(ABC):
    """The database that a restore replaces."""

    @abstractmethod
    def old(self) -> AbstractContextManager[Database | None]:
        """The database as it is; None when there is none. Raises Conflict while anything else is connected to it."""

    @abstractmethod
    def rebuilt(self) -> AbstractContextManager[Database]:
        """An empty database that takes the old one's place when the block ends without an error.

        Raises Conflict while anything else is connected to the old one.
        """


def place_of(url: str) -> Place:
    """The place behind a database URL."""
    return (
        SqliteFile(Path(make_url(url).database or "")) if url.startswith("sqlite") else PostgresDatabase(url)
    )


class SqliteFile(Place):
    """The new file is built beside the old one and renamed over it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def old(self) -> Iterator[Database | None]:
        if not self._path.exists():
            yield None
            return
        self._seclude()
        with closing_database(f"sqlite:///{self._path}") as database:
            yield database

    @contextmanager
    def rebuilt(self) -> Iterator[Database]:
        part = self._path.with_name(f"{self._path.name}.restoring")
        try:
            _remove(part)
            os.close(private(str(part), os.O_CREAT | os.O_EXCL))
            with closing_database(f"sqlite:///{part}") as database:
                yield database
            # The last connection to close has brought everything into the file itself.
            _sync(part)
            if self._path.exists():
                shutil.copymode(self._path, part)
                self._seclude()
            part.replace(self._path)
            sync_folder(self._path.parent)
        finally:
            _remove(part)

    def _seclude(self) -> None:
        """Bring the write-ahead log into the file and end it: it must not outlive the file.

        SQLite does so only for the one process that has the file open.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=1, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            raise Conflict(f"{_IN_USE} ({error})") from None
        except sqlite3.DatabaseError:  # not a database any more: its log is of no use either
            for name in _beside(self._path):
                name.unlink(missing_ok=True)


class PostgresDatabase(Place):
    """Everything happens in one transaction: others see the old database until it commits."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def old(self) -> Iterator[Database | None]:
        with closing_database(self._url) as database:
            with database.engine.connect() as connection:
                _refuse_others(connection)
                empty = schema_of(connection) is Schema.EMPTY
            yield None if empty else database

    @contextmanager
    def rebuilt(self) -> Iterator[Database]:
        with (
            closing_database(self._url) as database,
            database.engine.connect() as connection,
            connection.begin(),
            unhurried(connection),
        ):
            _refuse_others(connection)
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            if schema_of(connection) is not Schema.EMPTY:
                migrate(connection)
                Base.metadata.drop_all(connection)
                connection.execute(text("DROP TABLE alembic_version"))
            yield _OneTransaction(connection)


class _OneTransaction(Database):
    """A database whose transactions are parts of one that is open: they last when it is committed."""

    def __init__(self, connection: Connection) -> None:
        self.engine = connection.engine
        self._connection = connection

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._session() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with self._session() as session, session.begin():
            yield session

    def _session(self) -> Session:
        return Session(
            self._connection,
            join_transaction_mode="create_savepoint",
            expire_on_commit=False,
            autoflush=False,
        )


@contextmanager
def closing_database(url: str) -> Iterator[Database]:
    """A database whose connections are all closed at the end."""
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


def _refuse_others(connection: Connection) -> None:
    """Others who are connected under our name are Voice. Raises Conflict when they do not go away soon."""
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    until = time.monotonic() + _NOTICED_AFTER_S
    while connection.scalar(others):
        if time.monotonic() > until:
            raise Conflict(_IN_USE)
        time.sleep(0.1)


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]


def _remove(path: Path) -> None:
    for name in (path, *_beside(path)):
        name.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
