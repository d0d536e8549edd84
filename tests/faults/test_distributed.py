"""The distributed shape on a PostgreSQL and a Redis of its own, both behind a proxy, the data on a small disk."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.chaos.analyser import environment
from tests.chaos.servers import Postgres, Redis, own_redis
from tests.faults.disk import Disk, small_disk
from tests.faults.proxy import Proxy
from tests.faults.traffic import QUICK, Traffic, assert_promises, rows_stored
from tests.stories.installations import Distributed, explained, running, until
from voice.db.deadlines import CONNECT_S, SILENCE_S
from voice.db.dialects import CHUNK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE_MB = 64
DOCKER_STOP_S = 10
BROKER_MUTE_S = 25
"""Longer than the broker's client waits for an answer, 20 s."""
AWAY_S = 10
"""Longer than a connection's attempt, and than what the broker's client waits between two attempts."""


@dataclass
class Place:
    """An installation and the ways to harm it."""

    voice: Distributed
    database_url: str
    postgres: Postgres
    redis: Redis
    disk: Disk
    to_postgres: Proxy
    to_redis: Proxy

    def administer(self, *statements: str) -> None:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    @property
    def api(self) -> subprocess.Popen[bytes]:
        """The process that serves."""
        [found] = [process for process in self.voice.processes if "api" in process.args]  # type: ignore[operator]
        return found

    def start_api_again(self) -> None:
        """As an orchestrator does with a container that ended."""
        ended = self.api
        ended.wait()
        self.voice.processes.remove(ended)
        self.voice.spawn("voice", *ended.args[1:])  # type: ignore[index]
        self.voice.await_ready()


@pytest.fixture(scope="module")
def place(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One installation for every bad day: each must leave it as it was."""
    with (
        own_redis() as redis,
        small_disk(SIZE_MB, owner=postgres.user) as disk,
        Proxy(postgres.port) as to_postgres,
        Proxy(redis.port) as to_redis,
    ):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.path}'")  # type: ignore[arg-type]
            connection.execute("CREATE DATABASE voice TABLESPACE small")
        own = make_url(postgres.url).set(database="voice")
        installation = Distributed(
            tmp_path_factory.mktemp("distributed"),
            own.set(port=to_postgres.port).render_as_string(hide_password=False),
            f"redis://127.0.0.1:{to_redis.port}/0",
        )
        installation.env |= environment() | QUICK
        direct = own.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        try:
            with running(installation):
                yield Place(installation, direct, postgres, redis, disk, to_postgres, to_redis)
        finally:
            with psycopg.connect(postgres.url, autocommit=True) as connection:
                connection.execute("DROP DATABASE voice WITH (FORCE)")
                connection.execute("DROP TABLESPACE small")


def assert_as_promised(place: Place, traffic: Traffic) -> None:
    """The promises are kept, and every process that was started still lives."""
    with explained(place.voice):
        assert_promises(place.voice, place.database_url, traffic)
        assert [process.poll() for process in place.voice.processes] == [None] * 4


def test_the_database_is_stopped_and_started(place: Place) -> None:
    with explained(place.voice), Traffic(place.voice) as traffic:
        traffic.accepts()
        place.postgres.stop_at_once()
        traffic.refuses(10)
        time.sleep(AWAY_S)
        traffic.refuses()
        place.postgres.start()
        traffic.accepts(20)
    assert_as_promised(place, traffic)
    assert any('"database_unavailable"' in text for text in place.voice.logs().values())


def test_the_database_only_reads(place: Place) -> None:
    with explained(place.voice), Traffic(place.voice) as traffic, place.voice.client() as client:
        traffic.accepts()
        place.administer("ALTER DATABASE voice SET default_transaction_read_only = on", END_CONNECTIONS)
        traffic.refuses(10)
        assert client.get("/v1/feedback").status_code == 200
        place.administer("ALTER DATABASE voice RESET default_transaction_read_only", END_CONNECTIONS)
        traffic.accepts(20)
    assert_as_promised(place, traffic)


END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'voice'"


def test_the_databases_disk_is_full(place: Place) -> None:
    with explained(place.voice), Traffic(place.voice, words="word " * 200) as traffic:
        traffic.accepts()
        with place.disk.full():
            traffic.refuses(10)
            time.sleep(AWAY_S)
        traffic.accepts(20)
    assert_as_promised(place, traffic)


def test_the_line_to_the_database_is_pulled_out(place: Place) -> None:
    with explained(place.voice), Traffic(place.voice) as traffic:
        traffic.accepts()
        with place.to_postgres.blackhole():
            traffic.refuses()
            time.sleep(SILENCE_S + CONNECT_S)
        traffic.accepts(20)
    assert_as_promised(place, traffic)


def test_the_api_ends_while_the_broker_is_mute(place: Place) -> None:
    """A ring that hangs does not hold up who stops the API: it is gone within the time that `docker stop` gives."""
    with explained(place.voice), place.voice.client() as client, place.to_redis.mute():
        for n in range(3):
            body = {"text": "a word", "external_id": f"mute {n}"}
            assert client.post("/v1/feedback", json=body).status_code == 202
        place.api.terminate()
        place.api.wait(DOCKER_STOP_S)
        assert place.api.returncode in (
            0,
            -signal.SIGTERM,
        )  # Uvicorn ends in good order, then by the signal it got
    place.start_api_again()


def test_the_api_is_killed_between_the_parts_of_a_batch(place: Place) -> None:
    lines = "\n".join(f'{{"text": "part {n}", "external_id": "part {n}"}}' for n in range(3000))
    before = rows_stored(place.database_url)
    with explained(place.voice), place.voice.client() as client, ThreadPoolExecutor(1) as pool:
        place.to_postgres.latency_s = 0.1
        sent = pool.submit(client.post, "/v1/feedback/batch", content=lines)
        until(lambda: rows_stored(place.database_url) > before, "the first part is stored")
        place.api.kill()
        with pytest.raises(httpx.HTTPError):
            sent.result(60)
        place.to_postgres.latency_s = 0.0
        parts = rows_stored(place.database_url) - before
        assert 0 < parts < 3000
        assert parts % CHUNK == 0, "a part was torn"
        place.start_api_again()
        answer = client.post("/v1/feedback/batch", content=lines).json()
    assert (answer["duplicate"], answer["stored"], answer["rejected"]) == (parts, 3000 - parts, 0)
    with explained(place.voice), Traffic(place.voice) as traffic:
        traffic.accepts()
    assert_as_promised(place, traffic)


@pytest.mark.parametrize("fault", ["refusing", "blackhole"])
def test_the_broker_is_away_for_long(place: Place, fault: str) -> None:
    """Nobody who sends notices anything, and everything is analysed once it is back."""
    with explained(place.voice), Traffic(place.voice) as traffic:
        traffic.accepts()
        with getattr(place.to_redis, fault)():
            time.sleep(BROKER_MUTE_S)
            traffic.accepts(20)
        traffic.accepts()
    assert not traffic.refused
    assert_as_promised(place, traffic)
    assert any('"doorbell_failed"' in text for text in place.voice.logs().values())
