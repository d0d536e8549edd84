"""Feedback as people see it: the stored piece, what models and people say of it, and its theme."""

import base64
import binascii
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from voice.clock import parse_rfc3339, rfc3339
from voice.db.tables import ANALYSED, STATUS_NAMES, Analysis, Feedback, FeedbackTopic, Person, Source
from voice.errors import Invalid, NotFound
from voice.ids import known_form
from voice.search.filters import FeedbackFilter, conditions
from voice.search.keyword import keyword_condition

Names = Mapping[str, str]
Unseal = Callable[[bytes], dict[str, Any]]


def encode_cursor(value: Sequence[Any]) -> str:
    """An opaque bookmark of A–Z a–z 0–9 _ -."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *, length: int) -> list[Any]:
    """What `encode_cursor` was given. Raises Invalid for anything else."""
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        value = None
    if not isinstance(value, list) or len(value) != length:
        raise Invalid.field("cursor", "is not one that this list gave out")
    return value


def find_ids(
    session: Session,
    project_id: str,
    wanted: FeedbackFilter,
    *,
    query: str | None,
    cursor: str | None,
    limit: int,
) -> tuple[list[str], str | None]:
    """Ids of matching feedback, newest first, and the cursor of the next page."""
    statement = (
        select(Feedback.id, Feedback.created_at)
        .outerjoin(Analysis, Analysis.feedback_id == Feedback.id)
        .where(*conditions(project_id, wanted))
    )
    if query:
        statement = statement.where(keyword_condition(query))
    if cursor is not None:
        moment, last = _position(cursor)
        older = and_(Feedback.created_at == moment, Feedback.id < last)
        statement = statement.where(or_(Feedback.created_at < moment, older))
    ordered = statement.order_by(Feedback.created_at.desc(), Feedback.id.desc()).limit(limit + 1)
    rows = session.execute(ordered).all()
    page = rows[:limit]
    more = len(rows) > limit
    following = encode_cursor([rfc3339(page[-1].created_at), page[-1].id]) if more else None
    return [row.id for row in page], following


def _position(cursor: str) -> tuple[datetime, str]:
    moment, last = decode_cursor(cursor, length=2)
    try:
        return parse_rfc3339(moment), known_form(last, what="feedback")
    except (TypeError, ValueError, NotFound):
        raise Invalid.field("cursor", "is not one that this list gave out") from None


def read_items(
    session: Session,
    project_id: str,
    ids: Sequence[str],
    *,
    topics: Names,
    themes: Names,
    survivors: Names,
    unseal: Unseal,
) -> list[dict[str, Any]]:
    """Feedback items in the order of `ids`; ids that are not of this project are left out.

    `topics` and `themes` map ids to names, `survivors` merged theme ids to the theme they live on in.
    """
    rows = session.execute(
        select(Feedback, Analysis, Source.slug, Person.sealed)
        .outerjoin(Analysis, Analysis.feedback_id == Feedback.id)
        .join(Source, Source.id == Feedback.source_id)
        .outerjoin(Person, and_(Person.project_id == Feedback.project_id, Person.id == Feedback.person_id))
        .where(Feedback.project_id == project_id, Feedback.id.in_(ids))
    ).all()
    scores = _topic_scores(session, ids)
    found = {}
    for feedback, analysis, source, sealed in rows:
        shown = _stored(feedback, source, unseal(sealed) if sealed is not None else {})
        shown["analysis"] = None
        shown["theme"] = None
        if analysis is not None and feedback.status == ANALYSED:
            shown["analysis"] = _analysis(feedback, analysis, scores[feedback.id], topics)
            shown["language"] = analysis.language
            if analysis.theme_id is not None:
                theme_id = survivors.get(analysis.theme_id, analysis.theme_id)
                shown["theme"] = {"id": theme_id, "name": themes.get(theme_id, "")}
        found[feedback.id] = shown
    return [found[feedback_id] for feedback_id in ids if feedback_id in found]


def one_item(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The only item. Raises NotFound when there is none."""
    if not items:
        raise NotFound("no such feedback")
    return items[0]


def _topic_scores(session: Session, ids: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
    rows = session.execute(
        select(FeedbackTopic.feedback_id, FeedbackTopic.topic_id, FeedbackTopic.score)
        .where(FeedbackTopic.feedback_id.in_(ids))
        .order_by(FeedbackTopic.score.desc(), FeedbackTopic.topic_id)
    )
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for feedback_id, topic_id, score in rows:
        found[feedback_id].append((topic_id, score))
    return found


def _stored(feedback: Feedback, source: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    author = None
    if identity or feedback.account is not None or feedback.segment is not None:
        author = {
            "id": identity.get("id"),
            "name": identity.get("name"),
            "account": feedback.account,
            "segment": feedback.segment,
        }
    return {
        "id": feedback.id,
        "external_id": feedback.external_id,
        "response_id": feedback.response_id,
        "thread_id": feedback.thread_id,
        "source": source,
        "channel": feedback.channel,
        "title": feedback.title,
        "text": feedback.text,
        "author": author,
        "rating": feedback.rating,
        "rating_scale": feedback.rating_scale,
        "version": feedback.version,
        "segment": feedback.segment,
        "language": feedback.stated_language,
        "url": feedback.url,
        "tags": feedback.tags,
        "metadata": feedback.meta,
        "redacted": feedback.redacted,
        "truncated": feedback.truncated,
        "created_at": rfc3339(feedback.created_at),
        "received_at": rfc3339(feedback.received_at),
        "status": STATUS_NAMES[feedback.status],
    }


def _analysis(
    feedback: Feedback, analysis: Analysis, scores: Sequence[tuple[str, float]], topics: Names
) -> dict[str, Any] | None:
    if feedback.text is None:
        return None
    said = (feedback.text, analysis.aspects)
    return {
        "sentiment": {
            "label": analysis.sentiment,
            "score": (analysis.score or 0) / 10_000,
            "confidence": analysis.confidence,
            "unsure": analysis.unsure,
            "mixed": analysis.mixed,
        },
        "intent": analysis.intent,
        "urgency": analysis.urgency,
        "urgency_reasons": analysis.urgency_reasons,
        "topics": [{"id": t, "name": topics.get(t, t), "score": score} for t, score in scores],
        "aspects": [{"quote": said[0][aspect["start"] : aspect["end"]], **aspect} for aspect in said[1]],
        "language": analysis.language,
        "model": analysis.model,
    }
