"""Files that a person would bring, through import, analysis and evaluation of themes, in the embedded shape.

Run: `python benchmarks/import_real.py --data ../shared/data --rows 10000`. Makes three CSV files of real texts with invented
ids, versions, dates over 28 days and ratings; imports them with `voice import`; starts `voice up` and lets its worker analyse
them; has the themes evaluated once. Prints the time of each stage and the peak memory of each process, and writes both to
benchmarks/results/import_real.md. Everything else is in a temporary folder. Linux only: memory is read from /proc.

Quality is not measured here: some of the texts are of data sets that the shipped model was trained or measured with.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from voice.accounts import find_project
from voice.clock import parse_rfc3339, rfc3339, utc_now
from voice.config import Settings
from voice.doorbell import CeleryDoorbell
from voice.runtime import FIRST_PROJECT, Runtime

RESULT = Path(__file__).parent / "results" / "import_real.md"
VOICE = Path(sys.executable).with_name("voice")
DAYS = 28
VERSIONS = ("4.9.2", "5.0.0", "5.0.1", "5.1.0")
PLANS = ("free", "team", "enterprise")
GIVE_UP_SECONDS = 3600.0
NEVER = 100_000_000
"""Seconds between scheduled evaluations: the only one is asked for."""


@dataclass(frozen=True)
class Brought:
    """A file to import: its name, where its texts come from, its share of the rows, its channel."""

    name: str
    texts: str
    share: float
    channel: str


FILES = (
    Brought("tickets.csv", "intents/banking77.jsonl.gz", 0.4, "ticket"),
    Brought("chats.csv", "intents/clinc150.jsonl.gz", 0.3, "chat"),
    Brought("reviews.csv", "sentiment/test.jsonl.gz", 0.3, "review"),
)


@dataclass
class Measured:
    """What came out: (stage, rows, seconds), (process, peak MB), and counts."""

    stages: list[tuple[str, int, float]] = field(default_factory=list)
    memory: list[tuple[str, float]] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)


def write_file(path: Path, brought: Brought, data: Path, rows: int, rng: random.Random, now: datetime) -> int:
    """Write one CSV of at most `rows` rows, headed as such exports are; returns how many."""
    with gzip.open(data / brought.texts, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    chosen = rng.sample(texts, min(rows, len(texts)))
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["Ticket ID", "Created at", "Comment", "App version", "Customer ID", "Plan", "CSAT"])
        for number, text in enumerate(chosen, 1):
            created = now - timedelta(seconds=rng.uniform(0, DAYS * 86_400))
            rating = rng.randint(1, 5) if rng.random() < 0.3 else ""
            person = f"c-{rng.randrange(max(1, rows // 2))}"
            made = (f"{brought.channel}-{number}", f"{created:%Y-%m-%d %H:%M:%S}")
            out.writerow([*made, text, rng.choice(VERSIONS), person, rng.choice(PLANS), rating])
    return len(chosen)


def run_import(path: Path, brought: Brought, env: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak MB of `voice import`. Exits when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [VOICE, "import", path, "--channel", brought.channel], env=env, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"voice import {path.name}: exit code {code}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


@contextmanager
def running(env: dict[str, str], folder: Path) -> Iterator[tuple[int, httpx.Client]]:
    """`voice up`: the parent's process id and a client with an administrator's key; stopped at the end."""
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen([VOICE, "up"], env=env, stdout=log, stderr=log)
        try:
            while "ready" not in (folder / "up.log").read_text():
                if process.poll() is not None:
                    sys.exit(f"voice up ended:\n{(folder / 'up.log').read_text()}")
                time.sleep(0.2)
            lines = (Path(env["VOICE_DATA_DIR"]) / "voice.env").read_text().splitlines()
            keys = dict(line.split("=", 1) for line in lines)
            headers = {"Authorization": f"Bearer {keys['VOICE_ADMIN_KEY']}"}
            with httpx.Client(base_url=keys["VOICE_URL"], headers=headers, timeout=60) as client:
                yield process.pid, client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def statuses(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """/v1/status again and again; exits after an hour."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        yield client.get("/v1/status").raise_for_status().json()
        time.sleep(0.5)
    sys.exit("gave up after an hour")


def analyse(client: httpx.Client, doorbell: CeleryDoorbell) -> float:
    """Seconds until nothing waits, the loading of the models included."""
    started = time.perf_counter()
    doorbell.ring("analyse")
    for status in statuses(client):
        if status["pending"] == 0:
            if status["dead"]:
                sys.exit(f"{status['dead']} rows are dead")
            return time.perf_counter() - started
    raise AssertionError("statuses() never ends by itself")


def evaluate(client: httpx.Client, doorbell: CeleryDoorbell, project: str) -> float:
    """Seconds of one evaluation, by the worker's own record of its beginning and end."""
    tick = rfc3339(utc_now())
    doorbell.ring("evaluate", project=project, as_of=tick)
    for status in statuses(client):
        for run in status["evaluations"]:
            if run["as_of"] == tick and run["finished_at"] is not None:
                if run["error"]:
                    sys.exit(f"the evaluation failed: {run['error']}")
                taken = parse_rfc3339(run["finished_at"]) - parse_rfc3339(run["started_at"])
                return taken.total_seconds()
    raise AssertionError("statuses() never ends by itself")


def peaks(parent: int) -> list[tuple[str, float]]:
    """Peak MB of a process and its children, by what they do."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(folder.name) == parent or int(status["PPid"]) == parent:
            found.append((_role(command), int(status["VmHWM"].split()[0]) / 1024))
    return sorted(found)


def _role(command: str) -> str:
    for sign, role in (
        (" -m voice api", "API"),
        ("analyse@", "worker: analyse"),
        ("background@", "worker: pull, themes, notify"),
        (" beat", "beat"),
    ):
        if sign in command:
            return role
    return "parent (voice up)"


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(data: Path, rows: int, seed: int, folder: Path) -> Measured:
    """All stages, in their order."""
    found = Measured()
    settings = Settings(
        _env_file=None,
        data_dir=folder / "data",
        port=free_port(),
        evaluate_seconds=NEVER,  # type: ignore[call-arg]
    )
    given = {
        "VOICE_DATA_DIR": settings.data_dir,
        "VOICE_PORT": settings.port,
        "VOICE_EVALUATE_SECONDS": settings.evaluate_seconds,
        "VOICE_LOG_LEVEL": "WARNING",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
    env = kept | {name: str(value) for name, value in given.items()}
    total, largest = 0, 0.0
    rng, now = random.Random(seed), utc_now()
    for brought in FILES:
        path = folder / brought.name
        count = write_file(path, brought, data, round(rows * brought.share), rng, now)
        seconds, memory = run_import(path, brought, env)
        print(f"{brought.name}: {count} rows in {seconds:.1f} s", flush=True)
        found.stages.append((f"import of {brought.name}", count, seconds))
        total, largest = total + count, max(largest, memory)
    runtime = Runtime(settings)
    with runtime.database.read() as session:
        project = find_project(session, FIRST_PROJECT).id
    runtime.close()
    with running(env, folder) as (parent, client):
        doorbell = CeleryDoorbell(settings)
        found.stages.append(("analysis", total, analyse(client, doorbell)))
        print(f"analysis: {found.stages[-1][2]:.1f} s", flush=True)
        found.stages.append(("evaluation of themes", total, evaluate(client, doorbell, project)))
        themes = client.get("/v1/themes", params={"limit": 500}).raise_for_status().json()["items"]
        found.memory = [*peaks(parent), ("voice import, the largest of three", largest)]
    inside = sum(theme["size"] for theme in themes)
    found.counts["themes"] = str(len(themes))
    found.counts["items in a theme"] = f"{inside} of {total} ({inside / total:.0%})"
    size = sum(path.stat().st_size for path in settings.data_dir.glob("voice.db*"))
    found.counts["database"] = f"{size / 1e6:.0f} MB"
    return found


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows))


def report(found: Measured, *, rows: int, seed: int, busy: str) -> str:
    """The result as Markdown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    stages = [(name, f"{n:,}", f"{s:.1f}", f"{n / s:,.0f}") for name, n, s in found.stages]
    parts = [
        "# Import of real texts",
        "Made by benchmarks/import_real.py, which says what is measured.",
        f"{datetime.now(UTC):%d %B %Y}. {platform.system()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB of memory, "
        f"Python {platform.python_version()}. {busy}",
        f"    python benchmarks/import_real.py --data ../shared/data --rows {rows} --seed {seed}",
        "## Time",
        _table(("stage", "rows", "seconds", "rows/s"), stages),
        "Imports include the start of the process and, the first, the making of the database; analysis includes the loading of "
        "the models.",
        "## Peak memory",
        _table(("process", "MB"), [(name, f"{mb:.0f}") for name, mb in found.memory]),
        "## What came out",
        _table(("", "count"), list(found.counts.items())),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(asked.data, asked.rows, asked.seed, Path(folder))
    busy = (
        f"The load average was {load:.1f} before the run began: other work shared the cores."
        if load > 1
        else f"The load average was {load:.1f} before the run began."
    )
    text = report(found, rows=asked.rows, seed=asked.seed, busy=busy)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
