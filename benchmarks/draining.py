"""Feedback that waits, workers that analyse it, and how fast: for `durable.py` and `scaling.py`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from sqlalchemy import delete, func, select

from benchmarks.harness import environment, project_of
from benchmarks.post import texts
from benchmarks.worker_app import MODEL
from voice.db.dialects import CHUNK
from voice.db.tables import ANALYSED, Feedback, Marginal
from voice.feedback.submission import Submission
from voice.runtime import Runtime

GIVE_UP_SECONDS = 300.0
_LOOK_SECONDS = 0.02


def refill(runtime: Runtime, n: int) -> list[str]:
    """Only `n` rows are stored, and all of them wait; their ids."""
    project_id, now = project_of(runtime), runtime.clock()
    with runtime.database.write() as session:
        session.execute(delete(Feedback))
        session.execute(delete(Marginal))
    ids: list[str] = []
    given = texts(n)
    for start in range(0, n, CHUNK):
        part = [Submission(text=text) for text in given[start : start + CHUNK]]
        arrivals = [runtime.intake.prepare(project_id, one, now=now) for one in part]
        with runtime.database.write() as session:
            ids += [one.id for one in runtime.intake.store(session, arrivals, now=now) if one.id]
    return ids


@contextmanager
def workers(runtime: Runtime, n: int, *, model: str, **more: str) -> Iterator[None]:
    """`n` workers with one process each, which take `drain` and `naive`; the queue is emptied at the end."""
    celery = str(Path(sys.executable).with_name("celery"))
    chatter = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [celery, "-A", "benchmarks.worker_app", "--quiet", "worker", "-Q", "benchmark", "-P", "solo"]
    started = [
        subprocess.Popen(
            [*command, "-l", "ERROR", "-n", f"benchmark{number}@%h", *chatter],
            env=environment(runtime) | {MODEL: model, **more},
        )
        for number in range(n)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        redis.Redis.from_url(runtime.settings.broker).delete("benchmark", "unacked", "unacked_index")


def rate(runtime: Runtime, n: int, *, seconds: float = GIVE_UP_SECONDS) -> float:
    """Rows a second from the first that are seen done to the last of `n`, or to the last within `seconds` of the first.

    The workers' start is left out. Raises RuntimeError when nothing happens.
    """
    give_up = time.monotonic() + GIVE_UP_SECONDS
    first: tuple[float, int] | None = None
    last = (0.0, 0)
    while time.monotonic() < give_up:
        with runtime.database.read() as session:
            statement = select(func.count()).select_from(Feedback).where(Feedback.status == ANALYSED)
            done = session.scalar(statement) or 0
        now = time.monotonic()
        if done > last[1]:
            last = (now, done)
            first = first or last
        if first is not None and (done >= n or now - first[0] > seconds):
            return (last[1] - first[1]) / (last[0] - first[0])
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError("the workers did nothing")
