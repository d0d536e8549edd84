"""What SQLite and PostgreSQL do differently: the one place that asks which database this is."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Executable, Insert, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

# Ids in one statement: SQLite accepts 32 766 bound values (SQLITE_MAX_VARIABLE_NUMBER), PostgreSQL 65 535.
CHUNK = 500

_SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=15000",
    "foreign_keys=ON",
    "cache_size=-65536",
    "temp_store=MEMORY",
    "secure_delete=ON",
    "journal_size_limit=67108864",
)


def make_engine(url: str) -> Engine:
    """An engine whose connections keep the promises of both databases.

    SQLite: WAL with synchronous=FULL (a commit survives power loss), one explicit BEGIN per transaction.
    """
    # An error's text would quote the parameters, and so the feedback.
    common: dict[str, Any] = {"pool_timeout": 10, "hide_parameters": True}
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True, **common)
    engine = create_engine(url, connect_args={"timeout": 15}, pool_size=20, max_overflow=20, **common)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in _SQLITE_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own folds ASCII only; PostgreSQL's folds every script.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("voice_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _lower(value: str | bytes | float | None) -> str | bytes | float | None:
    return value.lower() if isinstance(value, str) else value


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose SQLite transactions take the write lock at once (no upgrade deadlocks)."""
    return engine.execution_options(voice_begin="IMMEDIATE")


def is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def insert_ignoring(session: Session, table: Table) -> Insert:
    """INSERT … ON CONFLICT DO NOTHING."""
    if is_sqlite(session):
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def add_up(session: Session, table: Table, rows: Sequence[dict[str, Any]], *, sums: Sequence[str]) -> None:
    """Insert rows, or add their `sums` columns to the row with the same primary key.

    Rows must come sorted by primary key, so that concurrent transactions lock in one order.
    """
    make: Any = sqlite.insert if is_sqlite(session) else postgresql.insert
    statement = make(table)
    grown = {name: table.c[name] + statement.excluded[name] for name in sums}
    keys = [column.name for column in table.primary_key]
    # Executed row by row: one VALUES list of all would be compiled anew each time, which takes 20 times the CPU.
    run(session, statement.on_conflict_do_update(index_elements=keys, set_=grown), rows)


def now_ms(session: Session) -> int:
    """The database's own clock in epoch milliseconds: leases are compared with one clock only."""
    if is_sqlite(session):
        statement = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    else:
        statement = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    return int(session.execute(text(statement)).scalar_one())


def pick_for_update(session: Session, statement: Any) -> Any:
    """Rows nobody else is claiming: SKIP LOCKED; on SQLite the write lock already says so."""
    return statement if is_sqlite(session) else statement.with_for_update(skip_locked=True)


def lock_rows(session: Session, statement: Any, *, of: Sequence[Any] | None = None) -> Any:
    """FOR UPDATE in the statement's order, of some of its tables or all; on SQLite the write lock already says so."""
    return statement if is_sqlite(session) else statement.with_for_update(of=of)


def is_database_trouble(error: BaseException) -> bool:
    """True when the database cannot serve now (locked, full, gone) and asking again later may help."""
    if isinstance(error, OperationalError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def explain_failure(error: BaseException) -> str:
    """The kind of a database error without its statement or parameters, which may hold feedback."""
    original = getattr(error, "orig", None)
    return type(original or error).__name__


def table_of(entity: Any) -> Table:
    """The Core table behind a table class."""
    table: Table = entity.__table__
    return table


def run(session: Session, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Execute once per row (executemany); nothing for no rows."""
    if rows:
        session.execute(statement, list(rows))
