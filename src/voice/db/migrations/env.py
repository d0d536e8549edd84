"""Alembic's entry: runs migrations on the engine, or inside the transaction, that `voice.db.migrate` hands over."""

from typing import Literal

from alembic import context
from sqlalchemy import Connection, Engine

from voice.db.deadlines import without_deadline
from voice.db.dialects import for_writing, lock_everything
from voice.db.tables import Base, UtcDateTime

# One lock after the other, as the statements of a migration take them, would end in deadlocks with those who write.
LOCK_MS = 300


def render(kind: str, thing: object, _context: object) -> str | Literal[False]:
    """Migrations name plain types, so that they keep working when our classes move."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(thing, UtcDateTime) else False


def run(connection: Connection) -> None:
    """Migrate on this connection; a transaction that is open already is left to its owner."""
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=render
    )
    with context.begin_transaction(), without_deadline(connection):
        if context.get_context().get_current_revision() != context.get_head_revision():
            lock_everything(connection, within_ms=LOCK_MS)
        context.run_migrations()


bind: Engine | Connection = context.config.attributes["bind"]

if isinstance(bind, Connection):
    run(bind)
else:
    with for_writing(bind).connect() as connection:
        run(connection)
