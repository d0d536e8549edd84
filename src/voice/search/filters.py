"""The filters that every list and every trend understands. One field repeated means OR, different fields AND."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import ColumnElement, exists, or_, select

from voice.db.tables import ANALYSED, CLAIMED, DEAD, PENDING, Analysis, Feedback, FeedbackTopic, Source

STATUSES = {"pending": (PENDING, CLAIMED), "analysed": (ANALYSED,), "dead": (DEAD,)}


@dataclass(frozen=True, slots=True)
class FeedbackFilter:
    """Which feedback; an empty tuple means any. `theme` holds resolved ids, aliases included; `topic` ids."""

    channel: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    segment: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    theme: tuple[str, ...] = ()
    sentiment: tuple[str, ...] = ()
    intent: tuple[str, ...] = ()
    urgency: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None

    def named(self) -> dict[str, tuple[str, ...]]:
        """The fields that filter by value and are set."""
        return {
            field.name: value
            for field in fields(self)
            if field.name not in ("start", "end") and (value := getattr(self, field.name))
        }


def conditions(project_id: str, wanted: FeedbackFilter) -> list[ColumnElement[bool]]:
    """SQL conditions over Feedback outer-joined with Analysis."""
    found: list[ColumnElement[bool]] = [Feedback.project_id == project_id]
    for name, values in wanted.named().items():
        found.append(_CONDITIONS[name](values))
    if wanted.start is not None:
        found.append(Feedback.created_at >= wanted.start)
    if wanted.end is not None:
        found.append(Feedback.created_at < wanted.end)
    return found


def _source(values: tuple[str, ...]) -> ColumnElement[bool]:
    return exists(select(Source.id).where(Source.id == Feedback.source_id, Source.slug.in_(values)))


def _topic(values: tuple[str, ...]) -> ColumnElement[bool]:
    mine = FeedbackTopic.feedback_id == Feedback.id
    return exists(select(FeedbackTopic.topic_id).where(mine, FeedbackTopic.topic_id.in_(values)))


def _status(values: tuple[str, ...]) -> ColumnElement[bool]:
    return or_(*(Feedback.status.in_(STATUSES[value]) for value in values))


_CONDITIONS = {
    "channel": Feedback.channel.in_,
    "source": _source,
    "version": Feedback.version.in_,
    "segment": Feedback.segment.in_,
    "language": Analysis.language.in_,
    "topic": _topic,
    "theme": Analysis.theme_id.in_,
    "sentiment": Analysis.sentiment.in_,
    "intent": Analysis.intent.in_,
    "urgency": Analysis.urgency.in_,
    "status": _status,
}
