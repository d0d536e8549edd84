"""Bring a database to the newest schema, and say how its schema and this code stand to each other.

The rule that lets one version run beside the next (a migration expands, and contracts only later) is in
docs/develop/migrations.md.
"""

import time
from enum import StrEnum
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from voice.db.dialects import is_lock_timeout
from voice.errors import Unavailable

SCRIPTS = Path(__file__).parent / "migrations"
PATIENCE_S = 60.0
RETRY_S = 0.2


class Schema(StrEnum):
    """How a database's schema stands to the one this code expects."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"

    @property
    def serves(self) -> bool:
        """True when this code may run on it: a newer schema has only grown."""
        return self in (Schema.CURRENT, Schema.NEWER)


def migrate(bind: Engine | Connection, revision: str = "head") -> None:
    """Run every migration up to a revision that has not run yet; a newer schema than this code's is left alone.

    Whoever reads or writes meanwhile waits for moments, and is never refused. Given a connection, everything happens in
    its transaction, which the caller ends. Raises Unavailable when the tables are not free for a moment in a minute.
    """
    until = time.monotonic() + PATIENCE_S
    while schema_of(bind) is not Schema.NEWER:
        try:
            command.upgrade(_config(bind), revision)
            return
        except OperationalError as error:
            if isinstance(bind, Connection) or not is_lock_timeout(error):
                raise
        if time.monotonic() > until:
            raise Unavailable(
                "something long uses the tables, such as a backup; run voice migrate again after it"
            )
        time.sleep(RETRY_S)


def schema_of(bind: Engine | Connection) -> Schema:
    """How the database stands to this code. A revision that this code does not know was made by a later version."""
    revision = revision_of(bind)
    if revision is None:
        return Schema.EMPTY
    if revision not in known_revisions():
        return Schema.NEWER
    return Schema.CURRENT if revision == known_revisions()[-1] else Schema.OLDER


def revision_of(bind: Engine | Connection) -> str | None:
    """The revision of the database's schema; None before the first migration."""
    if isinstance(bind, Connection):
        return MigrationContext.configure(bind).get_current_revision()
    with bind.connect() as connection:
        return revision_of(connection)


@cache
def known_revisions() -> tuple[str, ...]:
    """Every revision of this code, oldest first; the last is the one it expects."""
    return tuple(script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions())[::-1]


def _config(bind: Engine | Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["bind"] = bind
    return config
