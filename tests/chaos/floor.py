"""Where one kind of violence is looked at: rows stored by the test itself, real worker processes, no API."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.chaos.analyser import environment
from tests.chaos.books import Promise
from tests.chaos.sender import WORDS
from tests.conftest import SECRET, first_project
from tests.services import redis_database
from tests.stories.installations import BIN
from voice.doorbell import make_celery
from voice.feedback.submission import Submission
from voice.runtime import Runtime

LEASE_S = 5


@contextmanager
def broker_url(database_url: str) -> Iterator[str]:
    """The broker that belongs to a database's shape: files with SQLite, Redis with PostgreSQL."""
    if database_url.startswith("sqlite"):
        yield ""
    else:
        with redis_database() as url:
            yield url


class Floor:
    """Worker processes on one database, started, stopped and killed by hand."""

    def __init__(self, runtime: Runtime, broker: str, **settings: str) -> None:
        self.runtime = runtime
        given = runtime.settings
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            "VOICE_DATA_DIR": str(given.data_dir),
            "VOICE_DATABASE_URL": given.database_url,
            "VOICE_BROKER_URL": broker,
            "VOICE_SECRET_KEY": SECRET,
            "VOICE_LEASE_SECONDS": str(LEASE_S),
            **settings,
        }
        self._broker = make_celery(given.model_copy(update={"broker_url": broker}))
        self._processes: list[subprocess.Popen[bytes]] = []

    def worker(self, *arguments: str, **stand_in: object) -> subprocess.Popen[bytes]:
        """One more worker for `analyse`."""
        node = f"w{len(self._processes)}@{os.getpid()}"
        command = ["celery", "-A", "workers.app", "worker", "-l", "INFO", "-Q", "analyse", "-n", node]
        return self.spawn(*command, *(arguments or ("-P", "solo")), **stand_in)

    def spawn(self, *command: str, **stand_in: object) -> subprocess.Popen[bytes]:
        """A process with the stand-in for the models; what it says is in `log_of` it."""
        folder = self.runtime.settings.data_dir
        command = (str(BIN / command[0]), *command[1:])
        with (folder / f"process-{len(self._processes)}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self.env | environment(**stand_in),  # type: ignore[arg-type]
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> str:
        """Everything a process has said so far."""
        name = f"process-{self._processes.index(process)}.log"
        return (self.runtime.settings.data_dir / name).read_text(errors="replace")

    def ring(self, job: str = "analyse") -> None:
        """What the doorbell and beat send."""
        self._broker.send_task(job, queue="analyse", expires=30, ignore_result=True)

    def store(self, *texts: str, first: int = 0) -> dict[str, Promise]:
        """Store texts as feedback, numbered from `first`; text → promise."""
        project, now = first_project(self.runtime), self.runtime.clock()
        given = [Submission(text=t, metadata={"n": n, "version": 0}) for n, t in enumerate(texts, first)]
        arrivals = [self.runtime.intake.prepare(project, one, now=now) for one in given]
        with self.runtime.database.write() as session:
            stored = self.runtime.intake.store(session, arrivals, now=now)
        return {t: Promise(n, one.id) for n, (t, one) in enumerate(zip(texts, stored, strict=True), first)}

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL to a process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def clear(self) -> None:
        """Kill every process."""
        for process in self._processes:
            self.kill(process)
        self._broker.close()


@contextmanager
def floor(runtime: Runtime, **settings: str) -> Iterator[Floor]:
    """An empty floor on the runtime's database; the logs are shown when the block fails."""
    with broker_url(runtime.settings.database_url) as broker:
        made = Floor(runtime, broker, **settings)
        try:
            yield made
        except BaseException:
            for process in made._processes:
                print(f"── {' '.join(map(str, process.args))}\n{made.log_of(process)[-3000:]}")
            raise
        finally:
            made.clear()


def good_texts(n: int) -> Sequence[str]:
    """Different texts without harm, the same each time."""
    dice = random.Random(7)
    words = " ".join(WORDS.values()).split()
    return [f"{' '.join(dice.sample(words, 6))} {i}" for i in range(n)]
