"""Installations whose processes are killed: every process is the product's own, and something starts it again.

In the embedded shape `voice up` restarts its children and this keeper only `voice up`; in the distributed one this
keeper does what `restart: unless-stopped` does in docker-compose.yml.
"""

import os
import signal
import subprocess
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.chaos.analyser import environment
from tests.chaos.servers import Postgres, Redis, own_postgres, own_redis
from tests.stories.installations import Installation, children, until

RESTART_S = 0.5
LEASE_S = 5
SETTINGS = {
    "VOICE_LEASE_SECONDS": str(LEASE_S),
    "VOICE_EVALUATE_SECONDS": "15",
    "VOICE_WINDOW_ITEMS": "400",
    "VOICE_OTHER_PER_MINUTE": "1000000",
    "VOICE_INGEST_PER_MINUTE": "1000000",
    "VOICE_REFUSED_PER_MINUTE": "1000000",
}


class Crew(Installation):
    """Named commands, each kept running."""

    def __init__(self, folder: Path, *, call_s: float = 0.0, text_s: float = 0.0) -> None:
        super().__init__(folder)
        self.env |= SETTINGS | environment(call_s=call_s, text_s=text_s)
        self.commands: dict[str, list[str]] = {}
        self.alive: dict[str, subprocess.Popen[bytes]] = {}
        self.ended_alone: Counter[str] = Counter()
        """Processes that ended although nobody killed them: `name code` → times."""
        self._killed: set[int] = set()
        self._groups: list[int] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper")

    @property
    @abstractmethod
    def database_url(self) -> str: ...

    @abstractmethod
    def victims(self) -> dict[str, list[int]]:
        """Role → the processes that have it now."""

    def start(self) -> None:
        for name in self.commands:
            self._start_one(name)
        self.await_ready()
        self._keeper.start()

    def kill(self, pid: int, *, group: bool = False) -> bool:
        """SIGKILL to the process, or to all of its group. False when it is gone already."""
        with self._lock:
            self._killed.add(pid)
            try:
                (os.killpg if group else os.kill)(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
            return True

    def stop(self) -> None:
        """End every process, politely at first, and for good."""
        self._stopping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        super().stop()
        while self._groups:  # children of pools outlive a parent that was killed
            with suppress(ProcessLookupError):
                os.killpg(self._groups.pop(), signal.SIGKILL)

    def _start_one(self, name: str) -> None:
        self.alive[name] = process = self.spawn(*self.commands[name])
        self._groups.append(process.pid)

    def _keep(self) -> None:
        due: dict[str, float] = {}
        while not self._stopping.wait(0.1):
            for name, process in list(self.alive.items()):
                if process.poll() is None:
                    continue
                with self._lock:
                    if process.pid not in self._killed:
                        self.ended_alone[f"{name} {process.returncode}"] += 1
                del self.alive[name]
                due[name] = time.monotonic() + RESTART_S
            for name in [name for name, at in due.items() if time.monotonic() >= at]:
                del due[name]
                self._start_one(name)


class EmbeddedCrew(Crew):
    """`voice up`."""

    MARKS = (("api", "voice api"), ("analyse", "analyse@"), ("background", "background@"), ("beat", " beat"))

    def __init__(self, folder: Path, *, call_s: float = 0.0, text_s: float = 0.0) -> None:
        super().__init__(folder, call_s=call_s, text_s=text_s)
        self.commands = {"parent": ["voice", "up"]}

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data / 'voice.db'}"

    def start(self) -> None:
        super().start()
        until(lambda: "beat" in self.victims(), "beat was started")

    def admin_key(self) -> str:
        lines = (self.data / "voice.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)["VOICE_ADMIN_KEY"]

    def victims(self) -> dict[str, list[int]]:
        parent = self.alive.get("parent")
        if parent is None:
            return {}
        found: dict[str, list[int]] = {"parent": [parent.pid]}
        for pid, command in children(parent.pid).items():
            for role, mark in self.MARKS:
                if mark in command:
                    found.setdefault(role, []).append(pid)
        return found


class DistributedCrew(Crew):
    """API, two workers of two processes each, the background worker and two beats, on servers of its own."""

    def __init__(
        self, folder: Path, postgres: Postgres, redis: Redis, *, call_s: float = 0.0, text_s: float = 0.0
    ) -> None:
        super().__init__(folder, call_s=call_s, text_s=text_s)
        self.postgres, self.redis = postgres, redis
        self.env |= {
            "VOICE_DATABASE_URL": postgres.url,
            "VOICE_BROKER_URL": redis.url,
            "VOICE_SECRET_KEY": "a secret for tests, long enough to be taken",
        }
        celery = ["celery", "-A", "workers.app"]
        worker = [*celery, "worker", "-l", "INFO"]
        self.commands = {
            "api": ["voice", "api", "--port", str(self.port)],
            "analyse-1": [*worker, "-Q", "analyse", "-c", "2", "-n", f"one@{self.port}"],
            "analyse-2": [*worker, "-Q", "analyse", "-c", "2", "-n", f"two@{self.port}"],
            "background": [
                *worker,
                "-Q",
                "pull,themes,notify",
                "-P",
                "threads",
                "-c",
                "4",
                "-n",
                f"b@{self.port}",
            ],
            "beat-1": [*celery, "beat", "-l", "INFO", "-s", str(folder / "beat-1")],
            "beat-2": [*celery, "beat", "-l", "INFO", "-s", str(folder / "beat-2")],
        }
        self._key = ""

    @property
    def database_url(self) -> str:
        return self.postgres.url.replace("postgresql://", "postgresql+psycopg://")

    def start(self) -> None:
        migrated = self.run("voice", "migrate")
        assert migrated.returncode == 0, migrated.stderr
        made = self.run("voice", "key", "create", "--role", "admin")
        assert made.returncode == 0, made.stderr
        self._key = made.stdout.strip()
        super().start()

    def admin_key(self) -> str:
        return self._key

    def victims(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for name, process in list(self.alive.items()):
            found.setdefault(name.partition("-")[0], []).append(process.pid)
            if name.startswith("analyse"):
                found.setdefault("child", []).extend(children(process.pid))
        return found


@contextmanager
def crew(shape: str, folder: Path, *, call_s: float = 0.0, text_s: float = 0.0) -> Iterator[Crew]:
    """A running installation of either shape; what its processes said last is shown when the block fails."""
    with ExitStack() as stack:
        made: Crew
        if shape == "embedded":
            made = EmbeddedCrew(folder, call_s=call_s, text_s=text_s)
        else:
            postgres, redis = stack.enter_context(own_postgres()), stack.enter_context(own_redis())
            made = DistributedCrew(folder, postgres, redis, call_s=call_s, text_s=text_s)
        try:
            made.start()
            yield made
        except BaseException:
            for name, said in made.logs().items():
                print(f"── {name}\n{said[-2000:]}")
            raise
        finally:
            made.stop()
