"""Migrations: from nothing to exactly the tables of the code, and back, on both databases."""

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

import voice.db
from tests.conftest import make_runtime
from tests.services import postgres_database
from voice.config import Settings
from voice.db.dialects import for_writing, make_engine
from voice.db.migrate import Schema, known_revisions, migrate, revision_of, schema_of
from voice.db.tables import Base
from voice.errors import Unavailable

SCRIPTS = Path(voice.db.__file__).parent / "migrations"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(Settings(_env_file=None, database_url=database_url).database)
    yield made
    made.dispose()


def to(engine: Engine, revision: str) -> None:
    """Downgrade to a revision."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["bind"] = engine
    command.downgrade(config, revision)


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_the_newest_schema_is_that_of_the_code(engine: Engine) -> None:
    migrate(engine)
    assert tables(engine) == set(Base.metadata.tables)
    assert differences(engine) == []


def test_a_difference_would_be_seen(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE projects ADD COLUMN extra INTEGER"))
        connection.execute(text("DROP INDEX ix_feedback_open"))
    assert len(differences(engine)) == 2


def test_partial_indexes_are_partial(engine: Engine) -> None:
    migrate(engine)
    catalogue = {
        "sqlite": "SELECT name, sql FROM sqlite_master",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
    }
    with engine.connect() as connection:
        definitions = dict(map(tuple, connection.execute(text(catalogue[engine.dialect.name]))))
    for name in ("ix_feedback_open", "ix_feedback_dead", "ux_feedback_external"):
        assert "WHERE" in definitions[name]


def test_down_to_nothing_and_up_again(engine: Engine) -> None:
    migrate(engine)
    to(engine, "base")
    assert tables(engine) == set()
    migrate(engine)
    assert differences(engine) == []


def test_how_a_database_stands_to_the_code(engine: Engine) -> None:
    assert schema_of(engine) is Schema.EMPTY
    migrate(engine)
    assert schema_of(engine) is Schema.CURRENT
    to(engine, "-1")
    assert schema_of(engine) is Schema.OLDER
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert schema_of(engine) is Schema.NEWER
    assert [state for state in Schema if state.serves] == [Schema.CURRENT, Schema.NEWER]


def test_a_newer_database_is_left_alone(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE projects ADD COLUMN extra INTEGER"))
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    migrate(engine)
    assert len(differences(engine)) == 1
    assert schema_of(engine) is Schema.NEWER


def test_migrating_inside_a_transaction_can_be_taken_back(engine: Engine) -> None:
    with for_writing(engine).connect() as connection:
        transaction = connection.begin()
        migrate(connection)
        assert schema_of(connection) is Schema.CURRENT
        transaction.rollback()
    assert schema_of(engine) is Schema.EMPTY
    assert tables(engine) == set()


def test_migrating_twice_changes_nothing(database_url: str, tmp_path: Path) -> None:
    runtime = make_runtime(database_url, tmp_path)
    with runtime.database.read() as session:
        before = [
            session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in ("projects", "topics", "events")
        ]
    runtime.migrate()
    with runtime.database.read() as session:
        after = [
            session.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in ("projects", "topics", "events")
        ]
    runtime.close()
    assert before == after
    assert all(before)


def test_there_is_one_head_and_every_revision_can_be_taken_back() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == 1
    for revision in scripts.walk_revisions():
        assert callable(revision.module.downgrade)


def test_migrating_leaves_the_logs_alone(sqlite_url: str) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    engine = create_engine(sqlite_url)
    migrate(engine)
    engine.dispose()
    assert (root.handlers, root.level) == (handlers, level)


@pytest.fixture
def postgres_engine() -> Iterator[Engine]:
    with postgres_database() as url:
        made = make_engine(Settings(_env_file=None, database_url=url).database)
        yield made
        made.dispose()


def test_a_migration_waits_for_who_uses_the_tables(postgres_engine: Engine) -> None:
    migrate(postgres_engine, known_revisions()[0])
    with postgres_engine.connect() as reader:
        reader.execute(text("SELECT 1 FROM feedback"))
        migrating = threading.Thread(target=migrate, args=(postgres_engine,))
        migrating.start()
        # A migration in wait does not hold up those who come after it for longer than it waits for one lock.
        with postgres_engine.connect() as other:
            other.execute(text("SELECT 1 FROM feedback"))
        assert migrating.is_alive()
    migrating.join()
    assert schema_of(postgres_engine) is Schema.CURRENT


def test_a_migration_gives_up_when_the_tables_are_never_free(
    postgres_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(postgres_engine, oldest := known_revisions()[0])
    monkeypatch.setattr("voice.db.migrate.PATIENCE_S", 0.5)
    with postgres_engine.connect() as reader:
        reader.execute(text("SELECT 1 FROM feedback"))
        with pytest.raises(Unavailable, match="backup"):
            migrate(postgres_engine)
    assert revision_of(postgres_engine) == oldest


def test_a_current_schema_is_found_current_while_others_work(postgres_engine: Engine) -> None:
    migrate(postgres_engine)
    with postgres_engine.connect() as reader:
        reader.execute(text("SELECT 1 FROM feedback"))
        migrate(postgres_engine)


def test_an_index_may_be_made_before_the_migration(postgres_engine: Engine) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "develop" / "migrations.md").read_text()
    [statement] = re.findall(r"^CREATE INDEX CONCURRENTLY .*;$", page, re.MULTILINE)
    migrate(postgres_engine, known_revisions()[0])
    with postgres_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    migrate(postgres_engine)
    assert differences(postgres_engine) == []
