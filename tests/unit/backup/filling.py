"""Rows that say as much as a column can hold, in every table, whatever tables there are."""

import random
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    String,
    column,
    insert,
    inspect,
    table,
)
from sqlalchemy.types import TypeEngine

from voice.db.session import Database
from voice.db.tables import ANALYSED, DEAD, PENDING, Base, UtcDateTime

TEXTS = (
    "",
    " ",
    "null",
    '"{}\\u0000',
    "line\nbreak\r\n\u2028 and tab\t",
    "Grüße ‮ 👩‍👩‍👧 \U0010ffff",
    "\x7f\x85\ufeff",
    "'; DROP TABLE feedback; --",
)
OBJECTS = (
    {},
    {"": None, "é": [1, 1.5, -0.0, 1e300, True, {"deep": [[]]}], "null": "null"},
    {"text": '\u2028 \x7f \\ " \n 👩‍👩‍👧'},
    [],
    [None, "x"],
    None,
    0,
    "a string",
)
MOMENTS = (
    datetime(1066, 10, 14, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 1, tzinfo=UTC),
)
FLOATS = (0.0, 0.1 + 0.2, 5e-324, -1.7976931348623157e308, 3.0)
BYTES = (b"", bytes(range(256)), b"\n\r\0", b"null")
ROWS = 12
LEFT_EMPTY = ("vault", "erasures", "suppressions")


def fill(database: Database, *, seed: int = 0) -> None:
    """Put rows into every table that a restore takes over as it is, as far as the database's schema has it."""
    dice = random.Random(seed)
    made: dict[str, list[dict[str, Any]]] = {}
    there = inspect(database.engine)
    for known in Base.metadata.sorted_tables:
        if known.name in LEFT_EMPTY or not there.has_table(known.name):
            continue
        columns = [known.c[one["name"]] for one in there.get_columns(known.name)]
        made[known.name] = [{c.name: _value(c, n, made, dice) for c in columns} for n in range(ROWS)]
        with database.write() as session:
            # Not the class's own table, whose defaults name columns that an older schema lacks.
            plain = table(known.name, *(column(c.name, c.type) for c in columns))
            session.execute(insert(plain), made[known.name])


def _value(cell: Column[Any], n: int, made: dict[str, list[dict[str, Any]]], dice: random.Random) -> Any:
    if cell.name == "status" and isinstance(cell.type, Integer):
        return dice.choice((PENDING, ANALYSED, DEAD))
    for key in cell.foreign_keys:
        target = key.column
        return made[target.table.name][n][target.name]
    unique = cell.primary_key or cell.unique or any(i.unique for i in cell.table.indexes if cell.name in i.c)
    if unique and isinstance(cell.type, String):
        return f"{n:02}{cell.name}"[: cell.type.length]
    if unique and isinstance(cell.type, Integer):
        return n + 1
    if cell.nullable and not dice.randrange(4):
        return None
    return dice.choice(_values(cell.type))


def _values(kind: TypeEngine[Any]) -> tuple[Any, ...]:
    if isinstance(kind, UtcDateTime):
        return MOMENTS
    if isinstance(kind, JSON):
        return OBJECTS
    if isinstance(kind, Boolean):
        return (True, False)
    if isinstance(kind, Integer):
        return (0, 1, 2, -1, 32_767)
    if isinstance(kind, Float):
        return FLOATS
    if isinstance(kind, LargeBinary):
        return BYTES
    assert isinstance(kind, String), kind
    return tuple(text[: kind.length] for text in TEXTS)
