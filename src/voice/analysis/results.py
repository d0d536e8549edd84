"""Results as rows: what models say is kept, and what people said of it stays on top."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from voice.analysis import records
from voice.analysis.vectors import pack, unpack
from voice.db.dialects import insert_all, lock_rows, run, table_of
from voice.db.tables import Analysis, Correction, FeedbackTopic

_SCORES = {"negative": -10_000, "neutral": 0, "positive": 10_000}

WITHOUT_WORDS: Mapping[str, Any] = {
    "sentiment": None,
    "score": None,
    "confidence": None,
    "unsure": False,
    "mixed": False,
    "intent": None,
    "urgency": None,
    "urgency_reasons": [],
    "aspects": [],
    "model": "none",
    "embedding": None,
    "encoder": None,
    "theme_id": None,
    "theme_score": None,
}


def columns(found: records.Analysis, *, model: str, encoder: str) -> dict[str, Any]:
    """What the models said of one verbatim, as columns of the table."""
    return {
        "sentiment": found.sentiment.label,
        "score": round(found.sentiment.score * 10_000),
        "confidence": found.sentiment.confidence,
        "unsure": found.sentiment.unsure,
        "mixed": found.sentiment.mixed,
        "intent": found.intent,
        "urgency": found.urgency,
        "urgency_reasons": list(found.urgency_reasons),
        "aspects": [
            {"start": a.start, "end": a.end, "topic": a.topic_id, "sentiment": a.sentiment, "score": a.score}
            for a in found.aspects
        ],
        "language": found.language,
        "model": model,
        "embedding": pack(found.embedding),
        "encoder": encoder,
    }


def save(
    session: Session,
    found: Mapping[str, Mapping[str, Any]],
    topics: Mapping[str, Sequence[records.TopicScore]],
) -> None:
    """Keep what the models said of these feedback rows (id → columns), replacing what an earlier model said.

    Corrections stand: fields that people corrected keep what they said. What people placed stays where they put it
    last, by a correction of its theme or by an edit of themes.
    """
    ids = sorted(found)
    placed = select(Analysis.feedback_id, Analysis.theme_by).where(Analysis.feedback_id.in_(ids))
    old = dict(session.execute(placed).all())
    table = table_of(Analysis)
    fresh = [{**found[i], "feedback_id": i, "theme_by": "model"} for i in ids if i not in old]
    insert_all(session, table, fresh)
    for feedback_id, placed_by in old.items():
        new = dict(found[feedback_id])
        if placed_by == "person":
            del new["theme_id"], new["theme_score"]
        session.execute(update(table).where(table.c.feedback_id == feedback_id).values(**new))
    session.execute(delete(FeedbackTopic).where(FeedbackTopic.feedback_id.in_(ids)))
    rows = [
        {"feedback_id": i, "topic_id": t.topic_id, "score": t.score} for i in ids for t in topics.get(i, ())
    ]
    insert_all(session, table_of(FeedbackTopic), rows)
    for feedback_id, said in sorted(standing(session, ids).items()):
        write_said(session, feedback_id, {field: value for field, value in said.items() if field != "theme"})


def standing(session: Session, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """For each feedback, what people say of each corrected field: the newest correction that was not taken back."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    rows = session.execute(
        select(Correction.feedback_id, Correction.field, Correction.person_says)
        .where(Correction.feedback_id.in_(ids), ~Correction.withdrawn)
        .order_by(Correction.at, Correction.id)
    )
    for feedback_id, field, says in rows:
        found[feedback_id][field] = says["value"]
    return found


def write_said(session: Session, feedback_id: str, said: Mapping[str, Any]) -> None:
    """Write what a person says over what the model said; a person is sure."""
    values: dict[str, Any] = {field: said[field] for field in ("intent", "urgency") if field in said}
    if "sentiment" in said:
        label = said["sentiment"]
        values |= {
            "sentiment": label,
            "score": _SCORES[label],
            "confidence": 1.0,
            "unsure": False,
            "mixed": False,
        }
    if "theme" in said:
        values |= {"theme_id": said["theme"], "theme_by": "person", "theme_score": None}
    if values:
        session.execute(update(Analysis).where(Analysis.feedback_id == feedback_id).values(**values))
    if "topics" in said:
        put_topics(session, feedback_id, dict.fromkeys(said["topics"], 1.0))


def topics_of(session: Session, feedback_id: str) -> dict[str, float]:
    """Topic id → score of one feedback."""
    rows = session.execute(
        select(FeedbackTopic.topic_id, FeedbackTopic.score).where(FeedbackTopic.feedback_id == feedback_id)
    )
    return dict(rows.all())


def put_topics(session: Session, feedback_id: str, topics: Mapping[str, float]) -> None:
    """Replace the topics of one feedback."""
    session.execute(delete(FeedbackTopic).where(FeedbackTopic.feedback_id == feedback_id))
    rows = [
        {"feedback_id": feedback_id, "topic_id": topic, "score": score} for topic, score in topics.items()
    ]
    run(session, table_of(FeedbackTopic).insert(), rows)


@dataclass(frozen=True, slots=True)
class EmbeddedPage:
    """Ids and vectors (n, d) of some stored verbatims."""

    ids: list[str]
    vectors: NDArray[np.float32]


def embedded_page(session: Session, project_id: str, *, encoder: str, after: str, limit: int) -> EmbeddedPage:
    """The next verbatims by id whose topics are the model's own, with their vectors."""
    corrected = select(Correction.feedback_id).where(
        Correction.project_id == project_id, Correction.field == "topics", ~Correction.withdrawn
    )
    rows = session.execute(
        select(Analysis.feedback_id, Analysis.embedding)
        .where(Analysis.project_id == project_id, Analysis.encoder == encoder)
        .where(Analysis.feedback_id > after, Analysis.feedback_id.not_in(corrected))
        .order_by(Analysis.feedback_id)
        .limit(limit)
    ).all()
    vectors = unpack([row.embedding for row in rows if row.embedding is not None])
    return EmbeddedPage([row.feedback_id for row in rows], vectors)


def set_model_topics(
    session: Session, topics: Mapping[str, Sequence[records.TopicScore]], *, dry_run: bool = False
) -> list[str]:
    """Replace the model's topics of these feedback rows; returns the ids whose set of topics changes."""
    known = (
        select(Analysis.feedback_id).where(Analysis.feedback_id.in_(topics)).order_by(Analysis.feedback_id)
    )
    present_ids = set(session.scalars(known if dry_run else lock_rows(session, known)))
    topics = {i: found for i, found in topics.items() if i in present_ids}  # others were removed meanwhile
    corrected = {i for i, said in standing(session, topics).items() if "topics" in said}
    present: dict[str, set[str]] = defaultdict(set)
    rows = session.execute(
        select(FeedbackTopic.feedback_id, FeedbackTopic.topic_id).where(FeedbackTopic.feedback_id.in_(topics))
    )
    for feedback_id, topic_id in rows:
        present[feedback_id].add(topic_id)
    changed = [
        i for i in sorted(topics) if i not in corrected and present[i] != {t.topic_id for t in topics[i]}
    ]
    if not dry_run:
        session.execute(delete(FeedbackTopic).where(FeedbackTopic.feedback_id.in_(changed)))
        new = [
            {"feedback_id": i, "topic_id": t.topic_id, "score": t.score} for i in changed for t in topics[i]
        ]
        run(session, table_of(FeedbackTopic).insert(), new)
    return changed
