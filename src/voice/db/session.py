"""Transactions. Edges open them here; whatever is handed a session never commits."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from voice.db.dialects import for_writing, make_engine


class Database:
    """One database: `read()` and `write()` give a session for one transaction each."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = make_engine(url)
        self._writing: Engine = for_writing(self.engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view; nothing is kept."""
        with Session(self.engine, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Commits at the end, rolls back on any error. No model and no network inside."""
        with Session(self._writing, expire_on_commit=False, autoflush=False) as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Close pooled connections (needed after a fork)."""
        self.engine.dispose()
