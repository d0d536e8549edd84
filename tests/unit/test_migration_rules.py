"""Every migration only grows, or says what of which earlier version it takes away: see docs/develop/migrations.md."""

import re
from collections.abc import Callable
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.script import ScriptDirectory

from tests.unit.migration_rules import operations, shrinking
from voice.db.migrate import SCRIPTS

REVISIONS = [script.module for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()]
CONTRACTS = re.compile(r"\S+( \S+)* unused since \d+\.\d+\.\d+")


@pytest.mark.parametrize("module", REVISIONS, ids=lambda module: module.revision)
def test_a_migration_only_grows_or_says_what_it_takes_away(module: ModuleType) -> None:
    assert operations(module)
    declared = getattr(module, "contracts", None)
    if declared is None:
        assert shrinking(module) == [], "say `contracts = 'table.column unused since X.Y.Z'`, or only grow"
    else:
        assert CONTRACTS.fullmatch(declared)
        assert shrinking(module), "declares to contract, and does not"


def made_up(upgrade: Callable[[], object]) -> ModuleType:
    module = ModuleType("made up")
    module.upgrade = upgrade  # type: ignore[attr-defined]
    return module


def in_batch() -> None:
    with op.batch_alter_table("feedback") as feedback:
        feedback.drop_column("text")


SHRINKING = {
    "drops a table": lambda: op.drop_table("feedback"),
    "drops a column": lambda: op.drop_column("feedback", "text"),
    "drops a column in a batch": in_batch,
    "renames a table": lambda: op.rename_table("feedback", "items"),
    "renames a column": lambda: op.alter_column("feedback", "text", new_column_name="words"),
    "changes a type": lambda: op.alter_column("feedback", "text", type_=sa.Integer()),
    "forbids NULL": lambda: op.alter_column("feedback", "text", nullable=False),
    "adds a column that must be filled": lambda: op.add_column(
        "feedback", sa.Column("x", sa.Integer(), nullable=False)
    ),
    "adds a constraint": lambda: op.create_unique_constraint("ux", "feedback", ["text"]),
    "adds a check": lambda: op.create_check_constraint("ck", "feedback", "text <> ''"),
    "adds a foreign key": lambda: op.create_foreign_key("fk", "feedback", "themes", ["text"], ["id"]),
    "adds a unique index": lambda: op.create_index(
        "ux", "feedback", ["text"], unique=True, if_not_exists=True
    ),
    "adds an index that cannot be made beforehand": lambda: op.create_index("ix", "feedback", ["text"]),
    "drops an index": lambda: op.drop_index("ix_feedback_open", "feedback"),
    "hides it in SQL": lambda: op.execute(" alter table feedback drop column text"),
    "deletes rows": lambda: op.execute("DELETE FROM feedback"),
}


@pytest.mark.parametrize("upgrade", SHRINKING.values(), ids=SHRINKING)
def test_what_shrinks_is_found(upgrade: Callable[[], object]) -> None:
    assert len(shrinking(made_up(upgrade))) == 1


def grows() -> None:
    op.create_table("new", sa.Column("id", sa.Integer(), nullable=False), sa.PrimaryKeyConstraint("id"))
    op.create_index("ux_new", "new", ["id"], unique=True)
    op.add_column("feedback", sa.Column("x", sa.Integer(), nullable=True))
    op.add_column("feedback", sa.Column("y", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_feedback_x", "feedback", ["x"], if_not_exists=True)
    op.alter_column("feedback", "text", nullable=True)
    op.execute("UPDATE feedback SET x = 1")


def test_what_grows_is_let_through() -> None:
    assert len(operations(made_up(grows))) == 7
    assert shrinking(made_up(grows)) == []
