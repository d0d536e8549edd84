"""Migrations: from nothing to exactly the tables of the code, and back, on both databases."""

import logging
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
from voice.config import Settings
from voice.db.dialects import make_engine
from voice.db.migrate import is_current, migrate
from voice.db.tables import Base

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
    config.attributes["engine"] = engine
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


def test_an_empty_database_is_not_current_and_a_migrated_one_is(engine: Engine) -> None:
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    to(engine, "-1")
    assert not is_current(engine)


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
