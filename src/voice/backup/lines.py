"""Rows as lines of JSON, the same for every database.

A line is an object of columns. A column that is NULL is left out, so that JSON's own null stays one. Bytes are base64,
moments RFC 3339 in UTC, JSON columns are copied as they are.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from sqlalchemy import JSON, Connection, DateTime, MetaData, Table, Text, cast, event, type_coerce
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine, UserDefinedType

from voice.db.tables import UtcDateTime


class _RawJson(UserDefinedType[Raw]):
    """A JSON column whose text goes through untouched."""

    cache_ok = True

    @property
    def python_type(self) -> type[Raw]:
        return Raw

    def column_expression(self, column: Any) -> Any:
        return type_coerce(cast(column, Text), self)

    def bind_processor(self, _dialect: Dialect) -> Callable[[Raw | None], str | None]:
        return lambda value: None if value is None else bytes(value).decode()

    def result_processor(self, _dialect: Dialect, _kind: object) -> Callable[[str | None], Raw | None]:
        # Outside of strings JSON may hold line breaks; inside it cannot.
        return lambda text: None if text is None else Raw(text.replace("\r", " ").replace("\n", " "))


def reflect(connection: Connection) -> dict[str, Table]:
    """The tables that the database has now, parents before children; not Alembic's own."""
    metadata = MetaData()

    @event.listens_for(metadata, "column_reflect")
    def _neutral(_inspector: object, _table: object, column: Any) -> None:
        if isinstance(column["type"], JSON):
            column["type"] = _RawJson()
        elif isinstance(column["type"], DateTime):
            column["type"] = UtcDateTime()

    metadata.reflect(connection)
    return {str(table.name): table for table in metadata.sorted_tables if table.name != "alembic_version"}


class LineCodec:
    """Turns rows of some columns of one table into lines and back."""

    def __init__(self, table: Table, columns: Sequence[str] | None = None) -> None:
        """All columns unless they are named. Raises KeyError for one that the table does not have."""
        self.columns = tuple(map(str, table.c.keys() if columns is None else columns))
        fields = [(name, _python_type(table.c[name].type) | UnsetType, UNSET) for name in self.columns]
        self._row: Any = msgspec.defstruct(str(table.name), fields, forbid_unknown_fields=True)
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(self._row).decode

    def line(self, row: Sequence[Any]) -> bytes:
        """One row, its values in the order of `columns`, with a line break."""
        return self._encode(self._row(*(UNSET if value is None else value for value in row))) + b"\n"

    def row(self, line: bytes) -> dict[str, Any]:
        """What `line` was made of; every column is named. Raises msgspec.MsgspecError for anything else."""
        values = msgspec.structs.astuple(self._decode(line))
        return {
            name: None if value is UNSET else value for name, value in zip(self.columns, values, strict=True)
        }


def _python_type(kind: TypeEngine[Any]) -> Any:
    return datetime if isinstance(kind, UtcDateTime) else kind.python_type
