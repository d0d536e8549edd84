"""What the bad days share: a PostgreSQL of their own behind a proxy that harms, models that answer at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy.engine import make_url

import api.errors
import voice.db.writer
import voice.pipeline
import workers.tasks
from tests.api.helpers import serving
from tests.chaos.servers import Postgres, own_postgres
from tests.conftest import make_runtime, new_key
from tests.fakes import FakeAnalyser
from tests.faults.proxy import Proxy
from voice.db import deadlines
from voice.runtime import Runtime


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that tests may harm."""
    with own_postgres() as server:
        yield server


@pytest.fixture(autouse=True)
def _log_lines_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A logger that was used before, as the processes configure it, keeps that configuration for good."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.testing.LogCapture()], cache_logger_on_first_use=False)
    for module in (api.errors, voice.db.writer, voice.pipeline, workers.tasks):
        monkeypatch.setattr(module, "log", structlog.get_logger())
    yield
    structlog.configure(**before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines of the database as in life, but for their length."""
    monkeypatch.setattr(deadlines, "CONNECT_S", 2)
    monkeypatch.setattr(deadlines, "SILENCE_S", 2)
    monkeypatch.setattr(deadlines.Deadlined, "answer_s", 3.0)


@dataclass
class Line:
    """An API and a worker in this process, and the proxy between them and their database."""

    runtime: Runtime
    client: TestClient
    proxy: Proxy
    server: Postgres
    database: str

    def administer(self, statement: str) -> None:
        """Run a statement as the server's administrator, beside the proxy."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def end_connections(self) -> None:
        """What a restart of the server does to whoever is connected."""
        self.administer(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{self.database}' AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def line(postgres: Postgres, impatient: None, tmp_path: Path) -> Iterator[Line]:
    """A fresh installation whose every byte to and from PostgreSQL passes the proxy."""
    name = f"voice_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]
    with Proxy(postgres.port) as proxy:
        url = make_url(postgres.url).set(port=proxy.port, database=name).render_as_string(hide_password=False)
        runtime = make_runtime(url, tmp_path)
        runtime._analyser = FakeAnalyser()
        with serving(runtime, new_key(runtime, "admin")) as client:
            yield Line(runtime, client, proxy, postgres, name)
