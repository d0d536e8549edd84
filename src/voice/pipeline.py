"""What happens to a piece of feedback, in order. Read this first.

On arrival, per claimed batch: each step declares what it needs and gives; the models run between two short
transactions, never inside one. On schedule: see `voice.themes.evaluate`.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from voice import metrics, tracing
from voice.analysis import records
from voice.analysis.analyser import Analyser
from voice.analysis.results import WITHOUT_WORDS, columns, embedded_page, save, set_model_topics
from voice.analysis.topic_editing import definitions, list_topics
from voice.analysis.topics import TopicDefinition, TopicSpace
from voice.clock import Clock
from voice.db.dialects import is_database_trouble
from voice.db.session import Database
from voice.db.tables import Feedback
from voice.events import Change, append
from voice.feedback.claims import Claim, bury_exhausted, claim, fail, finish, give_back
from voice.feedback.leases import kept
from voice.themes.assignment import KnownThemes, known_themes
from voice.trends import recount

log = structlog.get_logger()

PAGE = 500


@dataclass(slots=True)
class Batch:
    """Rows on their way through the steps; each step fills in what it gives."""

    rows: tuple[Feedback, ...]
    spaces: dict[str, TopicSpace] = field(default_factory=dict)
    themes: dict[str, KnownThemes] = field(default_factory=dict)
    analyses: dict[str, records.Analysis] = field(default_factory=dict)
    placed: dict[str, tuple[str | None, float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One act on a batch: the fields of `Batch` it needs, and the one it gives."""

    run: Callable[[Analyser, Batch], None]
    needs: tuple[str, ...]
    gives: str


def analyse(analyser: Analyser, batch: Batch) -> None:
    """Language, embedding, sentiment, intent, urgency, topics and aspects of every verbatim. Ratings have no words."""
    by_project: dict[str, list[Feedback]] = defaultdict(list)
    for row in batch.rows:
        if row.text is not None:
            by_project[row.project_id].append(row)
    for project_id, rows in by_project.items():
        verbatims = [records.Verbatim(row.text or "", row.title, row.stated_language) for row in rows]
        results = analyser.read(verbatims, batch.spaces[project_id])
        batch.analyses |= {row.id: result for row, result in zip(rows, results, strict=True)}


def assign(analyser: Analyser, batch: Batch) -> None:
    """The known theme that takes each verbatim, if one does."""
    import numpy as np

    del analyser
    by_project: dict[str, list[str]] = defaultdict(list)
    for row in batch.rows:
        if row.id in batch.analyses:
            by_project[row.project_id].append(row.id)
    for project_id, ids in by_project.items():
        vectors = np.stack([batch.analyses[i].embedding for i in ids])
        batch.placed |= dict(zip(ids, batch.themes[project_id].take(vectors), strict=True))


ON_ARRIVAL = (
    Step(analyse, needs=("rows", "spaces"), gives="analyses"),
    Step(assign, needs=("rows", "analyses", "themes"), gives="placed"),
)


class Pipeline:
    """The arrival rhythm, bound to one database and one analyser."""

    def __init__(
        self,
        database: Database,
        analyser: Analyser,
        clock: Clock,
        *,
        batch_size: int,
        lease_seconds: int,
        max_attempts: int,
    ) -> None:
        self._database = database
        self._analyser = analyser
        self._clock = clock
        self._batch_size = batch_size
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._spaces: dict[str, tuple[object, TopicSpace]] = {}
        self._broken_off: list[Claim] = []

    def drain(self, *, seconds: float = math.inf) -> int:
        """Analyse until nothing waits, or begin no more batches after some seconds; returns how many rows were finished.

        Raises the database's error when it cannot serve; what was claimed then is given back by the next call.
        """
        done = 0
        metrics.SWEEPS.inc()
        while self._broken_off:
            with self._database.write() as session:
                give_back(session, self._broken_off[-1])
            self._broken_off.pop()
        end = time.monotonic() + seconds
        while time.monotonic() < end and (finished := self.step()) is not None:
            done += finished
        return done

    def step(self) -> int | None:
        """Claim one batch and bring it to its end; None when nothing waits."""
        began = time.perf_counter()
        held: Claim | None = None
        try:
            with self._database.write() as session:
                held = claim(session, limit=self._batch_size, lease_seconds=self._lease_seconds)
                if held is None:
                    return None
                if bury_exhausted(session, held, max_attempts=self._max_attempts, now=self._clock()):
                    return 0
            metrics.BATCH_SECONDS.labels("claim").observe(time.perf_counter() - began)
            metrics.BATCH_ROWS.observe(len(held.rows))
            requests = (row.trace for row in held.rows)
            with tracing.span("analyse", kind="consumer", follows=requests, rows=len(held.rows)):
                return self._finish(held)
        except Exception as error:
            # Also when the commit of the claim is in doubt: a lease that runs out would count against the rows.
            if held is not None and is_database_trouble(error):
                self._broken_off.append(held)
            raise

    def _finish(self, held: Claim) -> int:
        try:
            with kept(self._database, held, lease_seconds=self._lease_seconds), _phase("model"):
                batch = self._prepare(held)
                for step in ON_ARRIVAL:
                    step.run(self._analyser, batch)
        except Exception as error:
            if is_database_trouble(error):
                raise
            metrics.BATCH_FAILURES.inc()
            metrics.FAILED_ALONE.inc(len(held.rows) == 1)
            log.warning("batch_failed", rows=len(held.rows), error=type(error).__name__)
            with self._database.write() as session:
                fail(
                    session,
                    held,
                    error=type(error).__name__,
                    max_attempts=self._max_attempts,
                    now=self._clock(),
                )
            return 0
        with _phase("record"), self._database.write() as session:
            won = record(session, held, batch, analyser=self._analyser, now=self._clock())
        metrics.ANALYSED.inc(len(won))
        return len(won)

    def _prepare(self, held: Claim) -> Batch:
        batch = Batch(held.rows)
        for project_id in sorted({row.project_id for row in held.rows}):
            batch.spaces[project_id] = self.topic_space(project_id)
            with self._database.read() as session:
                batch.themes[project_id] = known_themes(
                    session, project_id, encoder=self._analyser.encoder_name
                )
        return batch

    def topic_space(self, project_id: str) -> TopicSpace:
        """The project's taxonomy as geometry, rebuilt when it was edited."""
        with self._database.read() as session:
            wanted = definitions(list_topics(session, project_id))
        known = self._spaces.get(project_id)
        if known is None or known[0] != wanted:
            known = (wanted, TopicSpace(wanted, self._analyser.embed))
            self._spaces[project_id] = known
        return known[1]

    def retopic(self, project_id: str) -> int:
        """Score every stored verbatim against the present taxonomy; returns how many rows changed topics."""
        space = self.topic_space(project_id)
        changed, after = 0, ""
        while True:
            with self._database.read() as session:
                rows = embedded_page(
                    session, project_id, encoder=self._analyser.encoder_name, after=after, limit=PAGE
                )
            if not rows.ids:
                return changed
            after = rows.ids[-1]
            topics = dict(zip(rows.ids, space.assign(rows.vectors), strict=True))
            with self._database.write() as session:
                moved = set_model_topics(session, topics)
                recount(session, moved)
            changed += len(moved)


@contextmanager
def _phase(name: str) -> Iterator[None]:
    with metrics.BATCH_SECONDS.labels(name).time(), tracing.span(name):
        yield


def record(session: Session, held: Claim, batch: Batch, *, analyser: Analyser, now: datetime) -> set[str]:
    """Keep the results, fenced by the claim's token; returns the ids that were still ours.

    Results, topics, marginals and status change in this one transaction; what people corrected stays corrected.
    """
    won = finish(session, held)
    rows = [row for row in held.rows if row.id in won]
    found = {row.id: _columns(row, batch, analyser, now) for row in rows}
    save(session, found, {row.id: a.topics for row in rows if (a := batch.analyses.get(row.id))})
    recount(session, won)
    _announce(session, rows, analyser, now)
    return won


def _columns(row: Feedback, batch: Batch, analyser: Analyser, now: datetime) -> dict[str, Any]:
    common = {"project_id": row.project_id, "analysed_at": now}
    found = batch.analyses.get(row.id)
    if found is None:
        return {**WITHOUT_WORDS, **common, "language": row.stated_language}
    theme_id, theme_score = batch.placed[row.id]
    said = columns(found, model=analyser.version, encoder=analyser.encoder_name)
    return {**said, **common, "theme_id": theme_id, "theme_score": theme_score}


def _announce(session: Session, rows: Sequence[Feedback], analyser: Analyser, now: datetime) -> None:
    """One event per project and batch: the log stays small, and readers find the rows by their ids."""
    by_project: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_project[row.project_id].append(row.id)
    for project_id, ids in sorted(by_project.items()):
        after = {"n": len(ids), "feedback": ids, "model": analyser.version}
        append(session, Change(project_id, "feedback.analysed", project_id, "worker", now, after=after))


def preview_topics(
    database: Database, analyser: Analyser, project_id: str, wanted: Sequence[TopicDefinition]
) -> tuple[int, int]:
    """How many of the stored verbatims would change topics under another taxonomy, and how many were looked at."""
    space = TopicSpace(wanted, analyser.embed)
    moved, looked_at, after = 0, 0, ""
    while True:
        with database.read() as session:
            page = embedded_page(session, project_id, encoder=analyser.encoder_name, after=after, limit=PAGE)
        if not page.ids:
            return moved, looked_at
        after = page.ids[-1]
        topics = dict(zip(page.ids, space.assign(page.vectors), strict=True))
        with database.read() as session:
            moved += len(set_model_topics(session, topics, dry_run=True))
        looked_at += len(page.ids)
