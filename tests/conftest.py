"""What tests share: a fresh installation on either database, its keys, its API."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from tests.services import postgres_database
from voice.accounts import create_key, find_project
from voice.config import Settings
from voice.events import SilentDoorbell
from voice.runtime import FIRST_PROJECT, Runtime

SECRET = "a secret for tests, long enough to be taken"
OPEN_LIMITS = {"ingest_per_minute": 1_000_000, "other_per_minute": 1_000_000, "refused_per_minute": 1_000_000}

MakeKey = Callable[..., str]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'voice.db'}"
    else:
        with postgres_database() as url:
            yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite database, for what does not depend on the database."""
    return f"sqlite:///{tmp_path / 'voice.db'}"


def make_runtime(database_url: str, data_dir: Path, **settings: object) -> Runtime:
    """A migrated installation whose doorbell nobody hears: tests drain the queue themselves."""
    given = {
        "data_dir": data_dir,
        "database_url": database_url,
        "secret_key": SECRET,
        **OPEN_LIMITS,
        **settings,
    }
    runtime = Runtime(Settings(_env_file=None, **given), doorbell=SilentDoorbell())  # type: ignore[call-arg, arg-type]
    runtime.migrate()
    return runtime


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """A migrated installation on each database."""
    live = make_runtime(database_url, tmp_path)
    yield live
    live.close()


@pytest.fixture
def sqlite_runtime(sqlite_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """A migrated installation on SQLite."""
    live = make_runtime(sqlite_url, tmp_path)
    yield live
    live.close()


def new_key(runtime: Runtime, role: str, project: str = FIRST_PROJECT) -> str:
    """A key's plain text."""
    with runtime.database.write() as session:
        project_id = find_project(session, project).id
        _, plain = create_key(
            session, project_id=project_id, role=role, name=role, actor="test", now=runtime.clock()
        )
    return plain


def first_project(runtime: Runtime) -> str:
    """The id of the first project."""
    with runtime.database.read() as session:
        return find_project(session, FIRST_PROJECT).id


def _client(runtime: Runtime) -> Iterator[TestClient]:
    with TestClient(create_app(runtime=runtime), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {new_key(runtime, 'admin')}"
        yield client


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    """The API with an admin's key, on each database."""
    yield from _client(runtime)


@pytest.fixture
def sqlite_client(sqlite_runtime: Runtime) -> Iterator[TestClient]:
    """The API with an admin's key, on SQLite."""
    yield from _client(sqlite_runtime)
