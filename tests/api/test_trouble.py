"""When the database or the writer cannot keep up: 429 or 503, and service as before once they can."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.api.helpers import items, refused, serving, wait_until
from tests.conftest import make_runtime, new_key
from tests.services import postgres_database, postgres_server
from voice.db import dialects
from voice.errors import Unavailable
from voice.feedback.requests import IntakeRequest
from voice.runtime import Runtime

BODY = {"text": "x"}


@contextmanager
def writer_held_up(client: TestClient) -> Iterator[None]:
    """The database's write lock is taken, so the writer stores nothing meanwhile."""
    with client.app.state.voice.runtime.database.write() as session:
        session.execute(text("SELECT 1"))  # a transaction begins with its first statement
        yield


def test_a_full_queue_says_when_to_come_back(sqlite_url: str, tmp_path: Path) -> None:
    runtime = make_runtime(sqlite_url, tmp_path, writer_queue=2)
    with serving(runtime, new_key(runtime, "admin")) as client, ThreadPoolExecutor(3) as pool:
        writer = client.app.state.voice.writer
        assert (
            items(client) == []
        )  # the key is known from now on: no request needs the database to recognise it
        with writer_held_up(client):
            waiting = [pool.submit(client.post, "/v1/feedback", json=BODY)]
            wait_until(lambda: writer.waiting == 0 and writer_is_busy(client))
            waiting += [pool.submit(client.post, "/v1/feedback", json=BODY) for _ in range(2)]
            wait_until(lambda: writer.waiting == 2)
            answer = client.post("/v1/feedback", json=BODY)
            refused(answer, 429)
            assert answer.headers["retry-after"] == "1"
            refused(client.post("/v1/feedback/batch", content=b'{"text": "x"}'), 429)
        assert [future.result().status_code for future in waiting] == [202] * 3
        assert len(items(client)) == 3


def writer_is_busy(client: TestClient) -> bool:
    """The writer has taken a request and waits for the lock: a second connection to the database is in use."""
    return client.app.state.voice.runtime.database.engine.pool.checkedout() >= 2  # type: ignore[attr-defined]


def test_whoever_gives_up_does_not_stop_the_writer(sqlite_client: TestClient) -> None:
    writer = sqlite_client.app.state.voice.writer
    assert items(sqlite_client) == []  # the key is known from now on
    with ThreadPoolExecutor(1) as pool, writer_held_up(sqlite_client):
        first = pool.submit(sqlite_client.post, "/v1/feedback", json=BODY)
        wait_until(lambda: writer_is_busy(sqlite_client))
        assert writer.submit(IntakeRequest(())).cancel()
    assert first.result().status_code == 202
    assert sqlite_client.post("/v1/feedback", json=BODY).status_code == 202
    assert writer.alive


def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [pragma.replace("busy_timeout=15000", "busy_timeout=50") for pragma in dialects._SQLITE_PRAGMAS]
    monkeypatch.setattr(dialects, "_SQLITE_PRAGMAS", quick)
    runtime = make_runtime(f"sqlite:///{tmp_path / 'voice.db'}", tmp_path)
    with serving(runtime, new_key(runtime, "admin")) as client:
        with writer_held_up(client):
            assert items(client) == []
            for answer in (
                client.post("/v1/feedback", json=BODY),
                client.post("/v1/feedback/batch", content=b'{"text": "x"}'),
                client.post("/v1/keys", json={"role": "viewer"}),
            ):
                refused(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
        assert client.post("/v1/feedback", json=BODY).status_code == 202
        assert len(items(client)) == 1


ASKED = ("/v1/feedback", "/v1/themes", "/v1/trends", "/v1/topics", "/v1/status", "/readyz")


def everything_is_unavailable(client: TestClient) -> None:
    for path in ASKED:
        answer = client.get(path)
        refused(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    refused(client.post("/v1/feedback", json=BODY), 503)
    assert client.get("/healthz").status_code == 200
    measured = client.get("/metrics").text
    assert "\nvoice_database_up 0.0\n" in measured
    assert "\nvoice_pending_rows NaN\n" in measured


def everything_works_again(client: TestClient) -> None:
    assert [client.get(path).status_code for path in ASKED] == [200] * len(ASKED)
    assert "\nvoice_database_up 1.0\n" in client.get("/metrics").text
    assert client.post("/v1/feedback", json=BODY).status_code == 202


def test_the_file_is_away_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    runtime = make_runtime(f"sqlite:///{folder / 'voice.db'}", tmp_path)
    with serving(runtime, new_key(runtime, "admin")) as client:
        everything_works_again(client)
        runtime.database.dispose()
        shutil.move(folder, tmp_path / "away")
        everything_is_unavailable(client)
        shutil.move(tmp_path / "away", folder)
        everything_works_again(client)
        assert len(items(client)) == 2


def test_postgresql_is_away_for_a_while(tmp_path: Path) -> None:
    with postgres_database() as url:
        runtime = make_runtime(url, tmp_path)
        with serving(runtime, new_key(runtime, "admin")) as client:
            everything_works_again(client)
            allow_connections(url, allowed=False)
            everything_is_unavailable(client)
            allow_connections(url, allowed=True)
            everything_works_again(client)
            assert len(items(client)) == 2


def allow_connections(url: str, *, allowed: bool) -> None:
    name = make_url(url).database
    with psycopg.connect(postgres_server() or "", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')
        if not allowed:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )


def test_a_closed_writer_refuses(sqlite_runtime: Runtime) -> None:
    with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
        writer = client.app.state.voice.writer
        writer.close()
        refused(client.post("/v1/feedback", json=BODY), 503)
        refused(client.get("/readyz"), 503)
        with pytest.raises(Unavailable):
            writer.submit(IntakeRequest(()))
