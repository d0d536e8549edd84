"""Installations to back up and places to restore to, on either database."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import make_runtime
from tests.fakes import FakeAnalyser
from tests.services import postgres_database
from tests.unit.backup.places import MakeUrl
from voice.config import Settings
from voice.runtime import Runtime


@pytest.fixture
def fresh_url(tmp_path: Path) -> Iterator[MakeUrl]:
    """URL of a new, empty database of a kind: sqlite or postgresql."""
    with ExitStack() as stack:

        def make(kind: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path / uuid4().hex}.db"
            given = stack.enter_context(postgres_database())
            return Settings(_env_file=None, database_url=given).database  # type: ignore[call-arg]

        yield make


@pytest.fixture
def live(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """A migrated installation with a stand-in for the models."""
    runtime = make_runtime(database_url, tmp_path)
    runtime._analyser = FakeAnalyser()
    yield runtime
    runtime.close()
