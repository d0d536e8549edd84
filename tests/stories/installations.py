"""Voice as people run it: real processes, in the embedded and in the distributed shape."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.services import postgres_database, redis_database

BIN = Path(sys.executable).parent
COMPOSE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
DEADLINE_S = 150
STOP_S = 15
"""What the parent promises: every child is gone this long after a signal to it alone."""
TAIL = 4_000


def until(condition: Callable[[], Any], what: str, *, within: float = DEADLINE_S) -> Any:
    """What the condition gives once it gives something."""
    end = time.monotonic() + within
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(pid: int) -> dict[int, str]:
    """The living descendants of a process and their command lines."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, rest = (folder / "stat").read_text().rpartition(")")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if int(parent) == pid and state != "Z":
            found |= {int(folder.name): command} | children(int(folder.name))
    return found


class Installation(ABC):
    """A data folder, a port and the processes that serve it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            "VOICE_DATA_DIR": str(self.data),
            "VOICE_PORT": str(self.port),
            "VOICE_EVALUATE_SECONDS": "2",
            "VOICE_OTHER_PER_MINUTE": "1000000",
            "VOICE_MODEL_THREADS": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def start(self) -> None:
        """Start everything and wait until the API is ready."""

    @abstractmethod
    def admin_key(self) -> str: ...

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.admin_key()}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """A command that goes on."""
        name = f"{len(self.processes)}-{Path(command[0]).name}.log"
        with (self.folder / name).open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def await_ready(self) -> None:
        def ready() -> bool:
            for process in self.processes:
                assert process.poll() is None, f"{process.args} ended with {process.returncode}"
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        until(ready, "the API is ready")

    def logs(self) -> dict[str, str]:
        """Every log of every process."""
        found = [*self.folder.glob("*.log"), *self.data.glob("logs/*.log")]
        return {path.name: path.read_text(errors="replace") for path in sorted(found)}

    def stop(self) -> None:
        """End every process, politely at first."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_S * 2)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()


class Embedded(Installation):
    """`voice up`: SQLite, a broker made of files, and a parent that keeps its own children."""

    starts = 0

    def start(self) -> None:
        self.parent = self.spawn("voice", "up")
        self.starts += 1
        self.await_ready()
        until(
            lambda: self.logs()["0-voice.log"].count("\nready ") == self.starts,
            "the parent says that it is ready",
        )

    def keys(self) -> dict[str, str]:
        lines = (self.data / "voice.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def admin_key(self) -> str:
        return self.keys()["VOICE_ADMIN_KEY"]


class Distributed(Installation):
    """The processes of docker-compose.yml, started by hand on PostgreSQL and Redis."""

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        super().__init__(folder)
        self.env |= {
            "VOICE_DATABASE_URL": database,
            "VOICE_BROKER_URL": broker,
            "VOICE_SECRET_KEY": "a secret for tests, long enough to be taken",
        }
        self._key = ""

    def start(self) -> None:
        services = yaml.safe_load(COMPOSE.read_text())["services"]
        migrated = self.run(*services["migrate"]["command"])
        assert migrated.returncode == 0, migrated.stderr
        made = self.run("voice", "key", "create", "--role", "admin")
        assert made.returncode == 0, made.stderr
        self._key = made.stdout.strip()
        for name in ("api", "worker-analyse", "worker-background", "beat"):
            self.spawn(*self._here(services[name]["command"]))
        self.await_ready()

    def _here(self, command: list[str]) -> list[str]:
        """The command of a container, with this machine's address, port and folder, and one process a pool."""
        replaced = {
            "0.0.0.0": "127.0.0.1",
            "8000": str(self.port),
            "/tmp/beat-schedule": str(self.folder / "beat"),
        }
        argv = [replaced.get(word, word) for word in command]
        if "worker" in argv:
            argv[argv.index("-c") + 1] = "1"
            argv[argv.index("-n") + 1] = re.sub("@.*", f"@{self.port}", argv[argv.index("-n") + 1])
        return argv

    def admin_key(self) -> str:
        return self._key


@contextmanager
def embedded(folder: Path) -> Iterator[Embedded]:
    """A running embedded installation; its logs are shown when the block fails."""
    installation = Embedded(folder)
    with running(installation):
        yield installation


@contextmanager
def distributed(folder: Path) -> Iterator[Distributed]:
    """A running distributed installation; its logs are shown when the block fails."""
    with postgres_database() as database, redis_database() as broker:
        installation = Distributed(folder, database, broker)
        with running(installation):
            yield installation


@contextmanager
def running(installation: Installation) -> Iterator[None]:
    """Start it, and stop it whatever happens; its logs are shown when the block fails."""
    try:
        with explained(installation):
            installation.start()
            yield
    finally:
        installation.stop()


@contextmanager
def explained(installation: Installation) -> Iterator[None]:
    """Show the logs of an installation when the block fails."""
    try:
        yield
    except BaseException:
        for name, text in installation.logs().items():
            print(f"── {name}\n{text[-TAIL:]}")
        raise
