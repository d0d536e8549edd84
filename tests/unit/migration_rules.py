"""What a migration may do while the version before it still runs: only grow."""

from types import ModuleType
from typing import Any
from unittest.mock import patch

from alembic.operations import AbstractOperations, Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column


def shrinking(module: ModuleType) -> list[str]:
    """What the migration does that code of the version before could stumble over; empty when it only grows."""
    new: set[str] = set()
    faults: list[str] = []
    for operation in operations(module):
        if isinstance(operation, ops.CreateTableOp):
            new.add(operation.table_name)
        elif getattr(operation, "table_name", None) not in new and (fault := _fault(operation)):
            faults.append(fault)
    return faults


def operations(module: ModuleType) -> list[ops.MigrateOperation]:
    """What `upgrade` would do, without a database."""
    seen: list[ops.MigrateOperation] = []

    def record(_self: AbstractOperations, operation: ops.MigrateOperation) -> None:
        seen.append(operation)

    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True})
    with Operations.context(context), patch.object(AbstractOperations, "invoke", record):
        module.upgrade()
    return seen


def _fault(operation: ops.MigrateOperation) -> str | None:
    """Why an operation on a table that is there already is not growth."""
    table = getattr(operation, "table_name", "")
    if isinstance(operation, ops.AddColumnOp):
        return _column_fault(table, operation.column)
    if isinstance(operation, ops.AlterColumnOp):
        return _alteration_fault(operation)
    if isinstance(operation, ops.CreateIndexOp):
        if operation.unique:
            return f"{table}: a unique index refuses rows that older code writes"
        if not operation.if_not_exists:
            return f"{operation.index_name}: an index needs if_not_exists=True, so that it may be made beforehand"
        return None
    if isinstance(operation, ops.ExecuteSQLOp):
        statement = str(operation.sqltext).strip()
        grows = statement.upper().startswith(("INSERT", "UPDATE"))
        return None if grows else f"SQL that nobody can judge: {statement[:40]}"
    if isinstance(operation, ops.BulkInsertOp):
        return None
    return f"{table}: {type(operation).__name__}"


def _column_fault(table: str, column: Column[Any]) -> str | None:
    if column.nullable or column.server_default is not None:
        return None
    return f"{table}.{column.name}: older code does not fill it; make it nullable, or give a server default"


def _alteration_fault(operation: ops.AlterColumnOp) -> str | None:
    """Letting NULL in and changing a default are growth; all else is not."""
    loosens = operation.modify_nullable in (None, True) and not (
        operation.modify_type or operation.modify_name
    )
    return None if loosens else f"{operation.table_name}.{operation.column_name}: altered"
