"""Alembic's entry: runs migrations on the engine that `voice.db.migrate` hands over."""

from typing import Literal

from alembic import context
from sqlalchemy import Engine

from voice.db.dialects import for_writing
from voice.db.tables import Base, UtcDateTime


def render(kind: str, thing: object, _context: object) -> str | Literal[False]:
    """Migrations name plain types, so that they keep working when our classes move."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(thing, UtcDateTime) else False


engine: Engine = context.config.attributes["engine"]

with for_writing(engine).connect() as connection:
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=render
    )
    with context.begin_transaction():
        context.run_migrations()
