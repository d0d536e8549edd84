"""What the benchmarks share: the machine, fresh databases, ratios of repeats taken in turns, a result file."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.services import postgres_database
from voice.accounts import create_key, find_project
from voice.config import Settings
from voice.events import SilentDoorbell
from voice.runtime import FIRST_PROJECT, Runtime

RESULTS = Path(__file__).parent / "results"
SECRET = "a secret for benchmarks, long enough to be taken"
UNLIMITED = 100_000_000
DATABASES = ("sqlite", "postgresql")
_VERSIONS = ("fastapi", "uvicorn", "sqlalchemy", "psycopg", "celery")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of repeats, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def shown(self, form: str = ".2f") -> str:
        return f"{self.median:{form}} ({self.low:{form}}–{self.high:{form}})"


def in_turns(arms: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Each arm measured `repeats` times, in turns, so that what else the machine does meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            found[name].append(arms[name]())
            print(f"  {turn + 1}/{repeats} {name}: {found[name][-1]:,.1f}", flush=True)
    return found


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """The quotients of each turn: its two measurements were neighbours in time."""
    return Spread.of([a / b for a, b in zip(over, under, strict=True)])


@contextmanager
def installation(database: str, **settings: Any) -> Iterator[Runtime]:
    """A migrated, empty installation on a fresh database, without limits; its folder is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="voice-bench-") as folder, database_url(database) as url:
        given = {
            "data_dir": Path(folder),
            "database_url": url,
            "secret_key": SECRET,
            "ingest_per_minute": UNLIMITED,
            "other_per_minute": UNLIMITED,
            "writer_queue": 10_000,
            **settings,
        }
        runtime = Runtime(Settings(_env_file=None, **given), doorbell=SilentDoorbell())  # type: ignore[call-arg]
        runtime.migrate()
        try:
            yield runtime
        finally:
            runtime.close()


@contextmanager
def database_url(database: str) -> Iterator[str]:
    """A fresh database; PostgreSQL: `VOICE_TEST_POSTGRES`, else 127.0.0.1:5432, else one started from a wheel."""
    if database == "sqlite":
        yield ""
    else:
        with postgres_database() as url:
            yield url


def environment(runtime: Runtime) -> dict[str, str]:
    """The environment of another process of the same installation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    settings = runtime.settings
    given = {
        name: getattr(settings, name)
        for name in settings.model_fields_set
        if isinstance(getattr(settings, name), str | int | float | Path)
    }
    said = {f"VOICE_{name.upper()}": str(value) for name, value in given.items()}
    return kept | said | {"VOICE_SECRET_KEY": SECRET, "VOICE_LOG_LEVEL": "WARNING"}


def project_of(runtime: Runtime) -> str:
    """The id of the first project."""
    with runtime.database.read() as session:
        return find_project(session, FIRST_PROJECT).id


def new_key(runtime: Runtime, role: str) -> str:
    """A key's plain text."""
    with runtime.database.write() as session:
        project_id = find_project(session, FIRST_PROJECT).id
        made = create_key(
            session,
            project_id=project_id,
            role=role,
            name="benchmark",
            actor="benchmark",
            now=runtime.clock(),
        )
    return made[1]


def options(description: str | None, **defaults: int) -> argparse.Namespace:
    """The command line: one whole number for each of `defaults`, and `--databases`."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=list(DATABASES))
    return parser.parse_args()


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def write_result(name: str, title: str, asked: argparse.Namespace, parts: Sequence[str]) -> None:
    """Print the result and keep it as benchmarks/results/<name>.md."""
    given = " ".join(f"--{key} {_words(value)}" for key, value in vars(asked).items())
    head = [
        f"# {title}",
        f"Made by benchmarks/{name}.py, which says what is measured.",
        machine(),
        f"    python benchmarks/{name}.py {given}",
    ]
    text = "\n\n".join([*head, *parts]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def _words(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def machine() -> str:
    """When, where, with which versions, and how busy the machine was."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    return (
        f"{datetime.now(UTC):%d %B %Y}. {platform.system()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GB of memory, Python {platform.python_version()}, {versions}. {_STARTED_UNDER}"
    )


def _load() -> str:
    load = os.getloadavg()[0]
    shared = ": other work shared the cores" if load > 0.5 else ""
    return f"The load average was {load:.1f} before the run began{shared}."


_STARTED_UNDER = _load()
# Told to stop, it leaves through the same doors: servers end, databases and folders go.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

if __name__ == "__main__":
    sys.exit("a library of the other benchmarks")
