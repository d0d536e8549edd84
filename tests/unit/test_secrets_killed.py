"""A rotation that is killed at any line loses nothing, and the next one completes it."""

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import insert, select

from tests.conftest import first_project
from voice.accounts import roots, rotation
from voice.accounts.rotation import SEALED, census, rotate
from voice.accounts.seal import SealRing
from voice.config import Settings
from voice.db.tables import Event, Person, Source
from voice.events import SilentDoorbell
from voice.runtime import Runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Place = tuple[str, int]
FILES = {rotation.__file__, roots.__file__}
PEOPLE = 3


def open_runtime(folder: Path) -> Runtime:
    return Runtime(Settings(_env_file=None, data_dir=folder), doorbell=SilentDoorbell())  # type: ignore[call-arg]


def turn(runtime: Runtime) -> None:
    rotate(runtime.database, runtime.secrets.ring, actor="test", now=runtime.clock())


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A data folder in which every sealed column holds something."""
    folder = tmp_path / "first"
    runtime = open_runtime(folder)
    runtime.migrate()
    project, now, seal = first_project(runtime), runtime.clock(), runtime.secrets.seal
    with runtime.database.write() as session:
        people = [{"project_id": project, "id": f"{i}", "sealed": seal({"id": i})} for i in range(PEOPLE)]
        session.execute(insert(Person), people)
        hook = {"id": "hook", "project_id": project, "slug": "hook", "channel": "api", "created_at": now}
        session.execute(insert(Source), [hook | {"kind": "webhook", "secret": seal({"secrets": []})}])
    runtime.close()
    return folder


def in_child(act: Callable[[], None]) -> int:
    """Do it in a process of its own; how that ended, as `os.waitstatus_to_exitcode` says."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def traced(see: Callable[[Place], None]) -> None:
    """Have every line of the rotation seen before it runs."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            see((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)


def places_of_a_rotation(folder: Path) -> list[tuple[Place, int]]:
    """Each line that a rotation runs, with how many times it does."""
    seen: Counter[Place] = Counter()
    runtime = open_runtime(folder)
    _ = runtime.secrets
    before = sys.gettrace()
    traced(lambda place: seen.update([place]))
    try:
        turn(runtime)
    finally:
        sys.settrace(before)
    runtime.close()
    return sorted(seen.items())


def killed_at(folder: Path, place: Place, time: int) -> int:
    """Rotate and die before this line runs for the n-th time."""

    def act() -> None:
        runtime = open_runtime(folder)
        _ = runtime.secrets
        met = 0

        def see(here: Place) -> None:
            nonlocal met
            met += here == place
            if met == time:
                os.kill(os.getpid(), signal.SIGKILL)

        traced(see)
        turn(runtime)

    return in_child(act)


def tokens(runtime: Runtime) -> Iterator[bytes]:
    for column in SEALED:
        with runtime.database.read() as session:
            yield from session.scalars(select(column).where(column.is_not(None)))


def test_killed_anywhere_it_loses_nothing_and_completes(installation: Path, tmp_path: Path) -> None:
    measured = tmp_path / "measured"
    shutil.copytree(installation, measured)
    places = places_of_a_rotation(measured)
    assert {file for (file, _), _ in places} == FILES
    keys = open_runtime(installation)
    fingerprint = keys.secrets.fingerprint()
    keys.close()
    deaths = 0
    for place, times in places:
        for time in {1, times}:
            folder = tmp_path / "killed"
            shutil.copytree(installation, folder)
            living = _ring_that_knows_the_old_root(folder)
            deaths += killed_at(folder, place, time) == -signal.SIGKILL
            _everything_opens(folder, living)
            _completes(folder, fingerprint)
            _everything_opens(folder, living)
            shutil.rmtree(folder)
    assert deaths == sum(len({1, times}) for _, times in places)


def _ring_that_knows_the_old_root(folder: Path) -> SealRing:
    runtime = open_runtime(folder)
    ring = runtime.secrets.ring
    assert [ring.opener(token) is not None for token in tokens(runtime)] == [True] * (PEOPLE + 3)
    runtime.close()
    return ring


def _everything_opens(folder: Path, living: SealRing) -> None:
    """To a process that starts now, and to one that has been there since before."""
    fresh = open_runtime(folder)
    found = list(tokens(fresh))
    assert len(found) == PEOPLE + 3
    for token in found:
        assert fresh.secrets.ring.opener(token) is not None
        assert living.opener(token) is not None
    fresh.close()


def _completes(folder: Path, fingerprint: str) -> None:
    """A rotation that was begun is finished; one that was not, or that was complete, is followed by another."""
    runtime = open_runtime(folder)
    turn(runtime)
    ring = runtime.secrets.ring
    [newest] = ring.roots()
    counted = sum(census(runtime.database, ring).values(), Counter[str | None]())
    assert counted == {newest.name: PEOPLE + 3}
    assert runtime.secrets.fingerprint() == fingerprint
    with runtime.database.read() as session:
        recorded = session.scalars(select(Event.subject_id).where(Event.kind == "secrets.rotated")).all()
    assert recorded.count(newest.name) == 1
    assert len(recorded) == len(set(recorded)) <= 2
    assert not list(folder.glob("secret.key.*"))
    runtime.close()
