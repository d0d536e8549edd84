"""What the tests of the API share: models that answer at once, and every answer held against the contract."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest
import structlog
from fastapi.testclient import TestClient
from httpx import Response
from numpy.typing import NDArray
from sqlalchemy import Engine, text

from tests.api.contract import contract
from tests.api.helpers import serving
from tests.conftest import make_runtime, new_key
from tests.fakes import FakeAnalyser
from tests.services import postgres_database
from voice.analysis.analyser import Analyser
from voice.analysis.models import load_analyser
from voice.analysis.topics import load_taxonomy
from voice.config import Settings
from voice.db import dialects
from voice.db.migrate import migrate
from voice.db.session import Database
from voice.db.tables import Base


# Module scope and not session: a patch must not reach the tests of other folders.
@pytest.fixture(scope="module", autouse=True)
def _models_that_answer_at_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voice.runtime.load_analyser", lambda **_: FakeAnalyser())
        patch.setattr("voice.runtime.load_taxonomy", _taxonomy)
        yield


_taxonomy = cache(load_taxonomy)
_shared: dict[str, Database] = {}
"""Databases that many tests use one after another: their statements are compiled once."""


@pytest.fixture(scope="module", autouse=True)
def _databases_that_answer_at_once() -> Iterator[None]:
    """Nothing here survives a power cut, what is migrated is not migrated again, and one engine serves many tests."""
    pragmas = [pragma.replace("synchronous=FULL", "synchronous=OFF") for pragma in dialects._SQLITE_PRAGMAS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialects, "_SQLITE_PRAGMAS", pragmas)
        patch.setattr("voice.runtime.migrate", _migrate_if_empty)
        patch.setattr("voice.runtime.Database", lambda url: _shared.get(url) or Database(url))
        yield


def _migrate_if_empty(engine: Engine) -> None:
    with engine.connect() as connection:
        migrated = connection.dialect.has_table(connection, "alembic_version")
    if not migrated:
        migrate(engine)


@pytest.fixture(scope="module", autouse=True)
def _log_lines_are_not_drawn() -> Iterator[None]:
    """By default structlog draws tracebacks with colours and local variables, which takes seconds."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.testing.LogCapture()])
    yield
    structlog.configure(**before)


@pytest.fixture(scope="module", autouse=True)
def _every_answer_keeps_the_contract() -> Iterator[None]:
    send = TestClient.send

    def checked(client: TestClient, *args: object, **kwargs: object) -> Response:
        response = send(client, *args, **kwargs)  # type: ignore[arg-type]
        if response.status_code != 500:  # a test that causes an unforeseen error looks at the answer itself
            assert contract().faults(response) == []
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestClient, "send", checked)
        yield


@pytest.fixture(scope="session")
def _one_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _one(f"sqlite:///{tmp_path_factory.mktemp('one') / 'voice.db'}")


@pytest.fixture(scope="session")
def _one_postgres() -> Iterator[str]:
    with postgres_database() as url:
        yield from _one(url)


def _one(url: str) -> Iterator[str]:
    database = Database(_engine_url(url))
    migrate(database.engine)
    if (name := database.engine.url.database) and not url.startswith("sqlite"):
        with database.write() as session:
            session.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    database.dispose()
    _shared[_engine_url(url)] = database
    yield url
    del _shared[_engine_url(url)]
    database.dispose()


def _engine_url(url: str) -> str:
    return Settings(_env_file=None, database_url=url).database  # type: ignore[call-arg]


def _emptied_afterwards(url: str) -> Iterator[str]:
    yield url
    database = _shared[_engine_url(url)]
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    database.dispose()


@pytest.fixture
def sqlite_url(_one_sqlite: str) -> Iterator[str]:
    """A migrated, empty SQLite database."""
    yield from _emptied_afterwards(_one_sqlite)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty database of each kind."""
    kind = "_one_sqlite" if request.param == "sqlite" else "_one_postgres"
    yield from _emptied_afterwards(request.getfixturevalue(kind))


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    """The shipped models, loaded once. They remember what they embedded: every test has the same taxonomy."""
    loaded = load_analyser()
    embed, known = loaded.embed, {}

    def remembered(texts: Sequence[str]) -> NDArray[np.float32]:
        if missing := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(missing, embed(missing), strict=True))
        return np.stack([known[text] for text in texts])

    loaded.embed = remembered  # type: ignore[method-assign]
    return loaded


@pytest.fixture
def real_models(analyser: Analyser, monkeypatch: pytest.MonkeyPatch) -> Analyser:
    """For this test, every Runtime reads with the shipped models."""
    monkeypatch.setattr("voice.runtime.load_analyser", lambda **_: analyser)
    return analyser


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One API on SQLite with an admin's key, for a module's tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("shared")
    runtime = make_runtime(f"sqlite:///{folder / 'voice.db'}", folder, widget_per_minute=1_000_000)
    with serving(runtime, new_key(runtime, "admin")) as client:
        yield client
