"""A worker that runs out of memory: its batch is tried row by row, the row that is too much dies alone."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.chaos.books import assert_nothing_twice
from tests.faults.hungry import HUNGRY, INSATIABLE, LIMIT_BYTES, environment
from tests.faults.traffic import QUICK
from tests.recount import assert_exact
from tests.services import postgres_database, redis_database, unavailable
from tests.stories.installations import Distributed, children, explained, running, until
from voice.config import Settings
from voice.db.session import Database
from voice.db.tables import ANALYSED, DEAD, Feedback, Project
from voice.doorbell import CeleryDoorbell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def voice(tmp_path: Path) -> Iterator[Distributed]:
    with postgres_database() as database, redis_database() as broker:
        installation = Distributed(tmp_path, database, broker)
        installation.env |= environment() | QUICK | {"VOICE_MAX_ATTEMPTS": "2"}
        with running(installation):
            yield installation


def pool_of(voice: Distributed) -> tuple[int, int]:
    """The process ids of the worker that analyses: its parent, and the child that reads."""
    [parent] = [p.pid for p in voice.processes if "analyse" in p.args]
    return parent, next(iter(until(lambda: children(parent), "the pool has a child")))


def taken(pid: int, what: str) -> int:
    """Bytes of a process: VmSize or VmRSS."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@contextmanager
def refused(parent: int, child: int) -> Iterator[None]:
    """More memory is refused, as by `ulimit -v`: Python raises MemoryError."""
    limit = taken(child, "VmSize") + LIMIT_BYTES
    for pid in (parent, child):  # a new child has its parent's limit
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    yield


@contextmanager
def killed(parent: int, child: int) -> Iterator[None]:
    """Whoever takes more is killed by the kernel, as in a container with a limit."""
    memory = CGROUPS / "memory" if (CGROUPS / "memory").is_dir() else CGROUPS
    group = memory / f"voice-test-{os.getpid()}"
    name = "memory.limit_in_bytes" if memory.name == "memory" else "memory.max"
    try:
        group.mkdir()
        (group / name).write_text(str(taken(parent, "VmRSS") + taken(child, "VmRSS") + LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no memory cgroup of one's own ({error.strerror})")
    try:
        for pid in (parent, child):
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (memory / "cgroup.procs").write_text(pid)
        group.rmdir()


@pytest.mark.parametrize("limit", [refused, killed])
def test_a_batch_that_takes_too_much(voice: Distributed, limit: object) -> None:
    if sys.platform != "linux":
        unavailable("limits of another process need Linux")
    bell = CeleryDoorbell(
        Settings(_env_file=None, data_dir=voice.data, broker_url=voice.env["VOICE_BROKER_URL"])  # type: ignore[call-arg]
    )
    database = Database(voice.env["VOICE_DATABASE_URL"].replace("postgresql:", "postgresql+psycopg:"))

    def waiting() -> int:
        with database.read() as session:
            return len(session.scalars(select(Feedback.id).where(Feedback.status < ANALYSED)).all())

    def settled() -> bool:
        bell.ring("analyse")  # beat would in 15 s
        return waiting() == 0

    with explained(voice), voice.client() as client:
        client.post("/v1/feedback", json={"text": "small"}).raise_for_status()
        until(settled, "the models are loaded")
        parent, child = pool_of(voice)
        with limit(parent, child):  # type: ignore[operator]
            texts = [f"{HUNGRY} {n}" for n in range(8)] + [f"small {n}" for n in range(20)] + [INSATIABLE]
            lines = "\n".join(f'{{"text": "{one}"}}' for one in texts)
            answer = client.post("/v1/feedback/batch", content=lines).raise_for_status().json()
            assert answer["stored"] == len(texts)
            until(settled, "every row is analysed or dead")
            assert os.path.exists(f"/proc/{parent}")
            assert children(parent), "nobody took the child's place"
            client.post("/v1/feedback", json={"text": "small again"}).raise_for_status()
            until(settled, "the worker goes on")
    with database.read() as session:
        rows = session.execute(select(Feedback.text, Feedback.status, Feedback.last_error)).all()
        [project] = session.scalars(select(Project.id))
    assert [(words, why) for words, status, why in rows if status == DEAD] == [
        (INSATIABLE, "MemoryError" if limit is refused else "lease lost")
    ]
    assert sum(status == ANALYSED for _, status, _ in rows) == len(texts) + 1
    assert_nothing_twice(database)
    assert_exact(database, project)
    database.dispose()
