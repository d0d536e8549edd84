"""`voice up`, all of it on one small disk: full, and with a database that somebody else has locked."""

import re
import sqlite3
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.analyser import environment
from tests.faults.disk import Disk, small_disk
from tests.faults.traffic import QUICK, Traffic, assert_promises
from tests.stories.installations import Embedded, children, explained, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE_MB = 64
FULL_S = 20
"""Longer than a sweep, a tick of the schedule and a lease."""
LOCKED_S = 17
"""Longer than Voice waits for SQLite's lock."""


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    with small_disk(SIZE_MB) as made:
        yield made


@pytest.fixture(scope="module")
def voice(disk: Disk) -> Iterator[Embedded]:
    """A parent and its children, whose database, broker, schedule and logs share the disk, the parent's own too."""
    installation = Embedded(disk.path)
    installation.env |= environment() | QUICK
    with running(installation):
        yield installation


@pytest.fixture
def url(voice: Embedded) -> str:
    return f"sqlite:///{voice.data / 'voice.db'}"


def errors_counted(voice: Embedded, kind: str) -> float:
    """`voice_database_errors_total` of one kind, of all processes together."""
    page = httpx.get(f"http://127.0.0.1:{voice.port}/metrics", timeout=60).raise_for_status().text
    found = re.search(rf'^voice_database_errors_total{{kind="{kind}"}} (\S+)$', page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def assert_all_children_live(voice: Embedded) -> None:
    assert voice.parent.poll() is None
    until(lambda: len(children(voice.parent.pid)) == 4, "every child is there")


def test_the_disk_is_full_for_a_while(voice: Embedded, disk: Disk, url: str) -> None:
    with explained(voice), Traffic(voice) as traffic, voice.client() as client:
        traffic.accepts(20)
        for seconds in (FULL_S, 0):
            with disk.full():
                traffic.refuses(10)
                assert client.get("/v1/feedback").status_code == 200
                time.sleep(seconds)
                traffic.refuses()
                assert errors_counted(voice, "SQLITE_FULL") > 0
            traffic.accepts(20)
    with explained(voice):
        assert_promises(voice, url, traffic)
        assert_all_children_live(voice)


def test_somebody_else_holds_the_lock(voice: Embedded, url: str) -> None:
    """A copy of the file in a transaction, say, or an administrator at the sqlite3 prompt."""
    with explained(voice), Traffic(voice) as traffic, voice.client() as client:
        traffic.accepts()
        somebody = sqlite3.connect(voice.data / "voice.db", isolation_level=None, timeout=30)
        somebody.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        traffic.refuses()
        assert client.get("/v1/feedback").status_code == 200
        time.sleep(max(0.0, LOCKED_S - (time.monotonic() - began)))
        assert errors_counted(voice, "SQLITE_BUSY") > 0
        somebody.execute("ROLLBACK")
        somebody.close()
        traffic.accepts()
    with explained(voice):
        assert_promises(voice, url, traffic)
        assert_all_children_live(voice)
