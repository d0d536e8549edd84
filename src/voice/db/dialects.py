"""What SQLite and PostgreSQL do differently: the one place that asks which database this is."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    Executable,
    Float,
    Insert,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from voice import metrics
from voice.db.deadlines import connect_with_deadlines, deadlines, without_deadline

# Ids in one statement: SQLite accepts 32 766 bound values (SQLITE_MAX_VARIABLE_NUMBER), PostgreSQL 65 535.
CHUNK = 500

SQLITE_BUSY_MS = 15_000

_SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    f"busy_timeout={SQLITE_BUSY_MS}",
    "foreign_keys=ON",
    "cache_size=-65536",
    "temp_store=MEMORY",
    "secure_delete=ON",
    "journal_size_limit=67108864",
)


def make_engine(url: str) -> Engine:
    """An engine whose connections keep the promises of both databases.

    SQLite: WAL with synchronous=FULL (a commit survives power loss), one explicit BEGIN per transaction.
    PostgreSQL: nothing waits for ever for a server that is gone (`voice.db.deadlines`).
    """
    # An error's text would quote the parameters, and so the feedback.
    common: dict[str, Any] = {"pool_timeout": 10, "hide_parameters": True}
    if not url.startswith("sqlite"):
        patience = deadlines(make_url(url).query)
        engine = create_engine(
            url, connect_args=patience, pool_size=10, max_overflow=20, pool_pre_ping=True, **common
        )
        event.listen(engine, "do_connect", connect_with_deadlines)
        event.listen(engine, "handle_error", _count)
        return engine
    engine = create_engine(url, connect_args={"timeout": 15}, pool_size=20, max_overflow=20, **common)
    event.listen(engine, "handle_error", _count)

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


def _count(failed: ExceptionContext) -> None:
    metrics.DATABASE_ERRORS.labels(
        explain_failure(failed.sqlalchemy_exception or failed.original_exception)
    ).inc()


def _lower(value: str | bytes | float | None) -> str | bytes | float | None:
    return value.lower() if isinstance(value, str) else value


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose SQLite transactions take the write lock at once (no upgrade deadlocks)."""
    return engine.execution_options(voice_begin="IMMEDIATE")


def is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """One consistent view of everything, from its first read on, for as long as it takes and while others write."""
    options: dict[str, Any] = {}
    if engine.dialect.name != "sqlite":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect() as connection, unhurried(connection.execution_options(**options)):
        yield connection


@contextmanager
def unhurried(connection: Connection) -> Iterator[None]:
    """Let the transaction of this connection, and each statement in it, take as long as they need."""
    with without_deadline(connection):
        if connection.dialect.name != "sqlite":
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def insert_ignoring(session: Session, table: Table) -> Insert:
    """INSERT … ON CONFLICT DO NOTHING."""
    if is_sqlite(session):
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_new(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert rows but those that conflict with stored ones; the ids of the rows that were really inserted.

    The rows have the same columns, `id` among them, and ids that no stored row has. For intake: goes round
    SQLAlchemy's bulk insert, which puts every row of the VALUES list together anew (benchmarks/batch.py).
    """
    if not rows:
        return set()
    names = tuple(rows[0])
    connection = session.connection()
    if is_sqlite(session):
        bound = bound_rows(table, names, _SQLITE, rows)
        if connection.exec_driver_sql(_insert_values(table, names, _IGNORING), bound).rowcount == len(rows):
            return {row["id"] for row in rows}
        ids = select(table.c.id).where(table.c.id.in_([row["id"] for row in rows]))
        return set(session.scalars(ids))
    arrays = tuple(map(list, zip(*bound_rows(table, names, _POSTGRESQL, rows), strict=True)))
    return {
        row.id
        for row in connection.exec_driver_sql(
            _insert_arrays(table, names, f"{_IGNORING} RETURNING id"), arrays
        )
    }


def insert_all(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns in one statement; goes round SQLAlchemy's bulk insert as `insert_new` does."""
    if not rows:
        return
    names = tuple(rows[0])
    connection = session.connection()
    if is_sqlite(session):
        bound = bound_rows(table, names, _SQLITE, rows)
        connection.exec_driver_sql(_insert_values(table, names, ""), bound)
    else:
        arrays = tuple(map(list, zip(*bound_rows(table, names, _POSTGRESQL, rows), strict=True)))
        connection.exec_driver_sql(_insert_arrays(table, names, ""), arrays)


def write_column(session: Session, table: Table, key: str, column: str, values: Mapping[str, Any]) -> None:
    """Set one column of many rows, each to its own value, found by `key` (key → value)."""
    if not values:
        return
    names = (column, key)
    rows = [{column: value, key: mine} for mine, value in values.items()]
    connection = session.connection()
    if is_sqlite(session):
        statement = f"UPDATE {table.name} SET {column} = ? WHERE {key} = ?"  # nosec B608  # names are ours
        connection.exec_driver_sql(statement, bound_rows(table, names, _SQLITE, rows))
        return
    chosen, arrays = _arrays(table, names)
    statement = (  # the names are those of our tables
        f"UPDATE {table.name} SET {column} = given.value FROM (SELECT {chosen} FROM unnest({arrays}) "  # nosec B608
        f"AS given ({column}, {key})) AS given (value, mine) WHERE {table.name}.{key} = given.mine"
    )
    bound = bound_rows(table, names, _POSTGRESQL, rows)
    connection.exec_driver_sql(statement, tuple(map(list, zip(*bound, strict=True))))


_SQLITE: Dialect = sqlite.dialect()
_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def bound_rows(
    table: Table, names: tuple[str, ...], dialect: Dialect, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, ...]]:
    """The rows' values in the order of `names`, as the driver takes them."""
    in_order = itemgetter(*names)
    binders = _binders(table, names, dialect)
    bound = []
    for row in rows:
        values = list(in_order(row))
        for i, bind in binders:
            values[i] = bind(values[i])
        bound.append(tuple(values))
    return bound


@cache
def _binders(
    table: Table, names: tuple[str, ...], dialect: Dialect
) -> list[tuple[int, Callable[[Any], Any]]]:
    """The positions of values that the driver does not take as they are, and what makes them so."""
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for i, name in enumerate(names):
        kind = table.c[name].type
        bind = kind.dialect_impl(dialect).bind_processor(dialect)
        if bind is None and isinstance(kind, Float):
            bind = _float  # an array has one type: psycopg refuses whole numbers among the others
        if bind is not None:
            found.append((i, bind))
    return found


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


_IGNORING = "ON CONFLICT DO NOTHING"


@cache
def _insert_values(table: Table, names: tuple[str, ...], ending: str) -> str:
    marks = ", ".join("?" for _ in names)
    columns = ", ".join(names)
    return f"INSERT INTO {table.name} ({columns}) VALUES ({marks}) {ending}"  # nosec B608  # names are ours


@cache
def _insert_arrays(table: Table, names: tuple[str, ...], ending: str) -> str:
    chosen, arrays = _arrays(table, names)
    columns = ", ".join(names)
    return (  # the names are those of our tables
        f"INSERT INTO {table.name} ({columns}) SELECT {chosen} FROM unnest({arrays}) AS given ({columns}) "  # nosec B608
        f"{ending}"
    )


@cache
def _arrays(table: Table, names: tuple[str, ...]) -> tuple[str, str]:
    """One array a column: as many parameters for one row as for a thousand, so one prepared statement."""
    kinds = {name: table.c[name].type.compile(_POSTGRESQL) for name in names}
    # psycopg has no arrays of JSON.
    arrays = ", ".join(f"%s::{'text' if kinds[name] == 'JSON' else kinds[name]}[]" for name in names)
    chosen = ", ".join(f"{name}::json" if kinds[name] == "JSON" else name for name in names)
    return chosen, arrays


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


def pass_gate(session: Session, name: str) -> None:
    """Go on together with others who pass, until the transaction ends; SQLite's write lock is gate enough."""
    if not is_sqlite(session):
        session.execute(
            text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))"), {"name": f"voice {name}"}
        )


def close_gate(session: Session, name: str) -> None:
    """Wait for everybody who passed, and let nobody pass until the transaction ends."""
    if not is_sqlite(session):
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"voice {name}"})


def empty_log(engine: Engine) -> bool:
    """Bring everything into SQLite's file itself and empty its write-ahead log, which may hold overwritten pages.

    False when somebody is reading: then it must be tried again, for writers would have to wait as long as the reader
    takes. PostgreSQL sees to its own log.
    """
    if engine.dialect.name != "sqlite":
        return True
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout=200")
        [busy, *_] = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
        return not busy
    finally:
        connection.close()


def lock_everything(connection: Connection, *, within_ms: int) -> None:
    """Until the transaction ends nobody else reads or writes: PostgreSQL's tables, parents first; SQLite is locked already.

    No statement of the transaction waits for a lock any longer than `within_ms`: below PostgreSQL's deadlock_timeout
    (1 s) it is we who give up, never those whom we block. Raises OperationalError (`is_lock_timeout`).
    """
    if connection.dialect.name == "sqlite":
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {within_ms}")
    names = [name for name, _ in inspect(connection).get_sorted_table_and_fkc_names() if name is not None]
    if names:
        quoted = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
        connection.exec_driver_sql(f"LOCK TABLE {quoted} IN ACCESS EXCLUSIVE MODE")


def is_lock_timeout(error: DBAPIError) -> bool:
    """True when PostgreSQL gave up waiting for a lock."""
    return getattr(error.orig, "sqlstate", None) == "55P03"


def advance_sequences(connection: Connection, tables: Sequence[Table]) -> None:
    """Let PostgreSQL number new rows after those that were given their numbers; SQLite does so by itself."""
    if connection.dialect.name == "sqlite":
        return
    for table in tables:
        for column in table.primary_key:
            sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
            if sequence is not None:
                highest = func.max(column)
                connection.execute(
                    select(func.setval(sequence, func.coalesce(highest, 1), highest.is_not(None)))
                )


# Classes of SQLSTATE that say nothing about the statement: connection, resources, operator, system; and of class 25
# a server that only reads (a standby, a full disk at some providers) and a transaction it ended for its idleness.
_TROUBLES = ("08", "53", "57", "58", "25006", "25P03")


def is_database_trouble(error: BaseException) -> bool:
    """True when the database cannot serve now (locked, full, read-only, gone) and asking again later may help."""
    if isinstance(error, OperationalError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(_TROUBLES)


def explain_failure(error: BaseException) -> str:
    """The kind of a database error without its statement or parameters, which may hold feedback.

    SQLite's own name (`SQLITE_FULL`), psycopg's class (`DiskFull`), or `PoolTimeout` when every connection is in use.
    """
    if isinstance(error, PoolTimeout):
        return "PoolTimeout"
    original = getattr(error, "orig", None)
    name: str | None = getattr(original, "sqlite_errorname", None)
    return name or type(original or error).__name__


def table_of(entity: Any) -> Table:
    """The Core table behind a table class."""
    table: Table = entity.__table__
    return table


def run(session: Session, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Execute once per row (executemany); nothing for no rows."""
    if rows:
        session.execute(statement, list(rows))
