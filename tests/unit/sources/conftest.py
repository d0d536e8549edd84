"""Fixtures of the tests of sources."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.database.dispose()
