"""A Celery application for `durable.py` and `scaling.py`: Voice's way to analyse, and the naive one.

`BENCHMARK_MODEL` chooses the model: `real`, `none` (an answer at once), or `sleep:MS` (MS milliseconds a text).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update
from sqlalchemy.orm import Session

from voice.analysis import records
from voice.analysis.analyser import Analyser
from voice.analysis.results import columns, save
from voice.analysis.topics import TopicSpace
from voice.config import load_settings
from voice.db.tables import ANALYSED, Feedback
from voice.doorbell import make_celery
from voice.events import Change, append
from voice.runtime import Runtime
from voice.trends import recount

MODEL = "BENCHMARK_MODEL"
DIMENSIONS = 384


class StandIn(Analyser):
    """Always the same answer, after `seconds` for each text."""

    encoder_name = "stand-in"
    version = "stand-in-1"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._vector = np.full(DIMENSIONS, DIMENSIONS**-0.5, np.float32)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(self._vector, (len(texts), 1))

    def read(self, verbatims: Sequence[records.Verbatim], topics: TopicSpace) -> list[records.Analysis]:
        time.sleep(self._seconds * len(verbatims))
        topic = topics.definitions[0].id
        return [
            records.Analysis(
                embedding=self._vector,
                sentiment=records.Sentiment("negative", -0.8, 0.9, unsure=False, mixed=False),
                intent="complaint",
                urgency="medium",
                urgency_reasons=(),
                topics=(records.TopicScore(topic, 0.8),),
                aspects=(),
                language="en",
            )
            for _ in verbatims
        ]


@cache
def _runtime() -> Runtime:
    runtime = Runtime(load_settings())
    model = os.environ[MODEL]
    if model != "real":
        runtime._analyser = StandIn(float(model.partition(":")[2] or 0) / 1000)
    return runtime


@cache
def _space(project_id: str) -> TopicSpace:
    return _runtime().pipeline.topic_space(project_id)


app = make_celery(load_settings())


@app.task(name="drain")  # type: ignore[untyped-decorator]
def drain() -> None:
    """Voice: claims of many rows, until nothing waits."""
    _runtime().pipeline.drain()


@app.task(name="naive", acks_late=True)  # type: ignore[untyped-decorator]
def naive(feedback_id: str) -> None:
    """One task and one commit for each feedback: read it, analyse it, keep the result. No trends, no themes, no lease."""
    with _runtime().database.write() as session:
        _keep(session, feedback_id)


@app.task(name="naive-whole", acks_late=True)  # type: ignore[untyped-decorator]
def naive_whole(feedback_id: str) -> None:
    """The same with the effects that Voice's way has: trends and the event, in the one commit."""
    runtime = _runtime()
    with runtime.database.write() as session:
        project_id = _keep(session, feedback_id)
        recount(session, [feedback_id])
        after = {"n": 1, "feedback": [feedback_id], "model": runtime.analyser.version}
        append(
            session,
            Change(project_id, "feedback.analysed", project_id, "worker", runtime.clock(), after=after),
        )


def _keep(session: Session, feedback_id: str) -> str:
    runtime = _runtime()
    row = session.get_one(Feedback, feedback_id)
    space = _space(row.project_id)
    [found] = runtime.analyser.read([records.Verbatim(row.text or "", row.title, None)], space)
    said = columns(found, model=runtime.analyser.version, encoder=runtime.analyser.encoder_name)
    values = {
        **said,
        "project_id": row.project_id,
        "analysed_at": runtime.clock(),
        "theme_id": None,
        "theme_score": None,
    }
    save(session, {row.id: values}, {row.id: found.topics})
    session.execute(update(Feedback).where(Feedback.id == row.id).values(status=ANALYSED))
    return row.project_id
