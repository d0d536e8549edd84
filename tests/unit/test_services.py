"""The helpers that give tests their servers."""

from collections.abc import Iterator

import psycopg
import pytest
import redis

from tests import services


def test_every_database_is_new_and_dropped_after_use() -> None:
    with services.postgres_database() as first, services.postgres_database() as second:
        assert first != second
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE feedback (id int)")
        with psycopg.connect(second) as connection:
            assert connection.execute("SELECT to_regclass('feedback')").fetchone() == (None,)
            # Left open on purpose: dropping must not depend on who is connected.
            left_open = psycopg.connect(second)
    left_open.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)


def test_two_redis_databases_are_apart_and_emptied_after_use() -> None:
    with services.redis_database() as first, services.redis_database() as second:
        assert first != second
        with redis.Redis.from_url(first) as one, redis.Redis.from_url(second) as two:
            one.set("key", "value")
            assert two.get("key") is None
    with redis.Redis.from_url(first) as after:
        assert after.get("key") is None


def test_a_redis_database_with_data_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with services.redis_database() as url, redis.Redis.from_url(url) as client:
        client.delete(services.CLAIM)
        client.set("somebody's", "data")
        server, _, number = url.rpartition("/")
        monkeypatch.setattr(services, "REDIS_DATABASES", range(int(number), int(number) + 1))
        monkeypatch.setattr(services, "redis_servers", lambda: iter([server]))
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception), services.redis_database():
            pass
        assert client.keys() == [b"somebody's"]


def test_a_redis_is_started_where_none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def none_runs(url: str) -> bool:
        asked.append(url)
        return len(asked) > 1 and reachable(url)

    reachable = services.answers
    monkeypatch.setattr(services, "answers", none_runs)
    monkeypatch.delenv("VOICE_TEST_REDIS", raising=False)
    with services.redis_database() as url:
        assert asked[0] == "redis://127.0.0.1:6379"
        assert not url.startswith(asked[0])
        with redis.Redis.from_url(url) as client:
            assert client.set("key", "value")


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VOICE_TEST_POSTGRES", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("VOICE_TEST_REDIS", "redis://127.0.0.1:1")
    services.postgres_server.cache_clear()
    yield
    services.postgres_server.cache_clear()


@pytest.mark.usefixtures("no_servers")
@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)], ids=["ci", "elsewhere"]
)
def test_a_missing_server_is_never_silent(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no PostgreSQL"), services.postgres_database():
        pass
    with pytest.raises(outcome, match="no Redis"), services.redis_database():
        pass
