"""Feedback on the wire."""

from typing import Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from api.schemas.common import (
    Cursor,
    Fault,
    FeedbackStatus,
    FilterQuery,
    Intent,
    Keywords,
    Limit,
    Sentiment,
    Shown,
    Strict,
    Urgency,
    Value,
)
from voice.feedback.submission import Channel, RatingScale

Outcome = TypeAliasType("Outcome", Literal["stored", "duplicate", "updated", "erased"])
LineOutcome = TypeAliasType("LineOutcome", Literal["stored", "duplicate", "updated", "rejected", "erased"])


class Accepted(Shown):
    id: str | None = Field(description="Null when the outcome is `erased`: nothing was stored.")
    outcome: Outcome


class BatchLine(Shown):
    line: int = Field(description="Counted from 1.")
    id: str | None
    outcome: LineOutcome
    errors: list[Fault]


class BatchAnswer(Shown):
    stored: int
    updated: int
    duplicate: int
    rejected: int
    erased: int
    lines: list[BatchLine]


class SentimentShown(Shown):
    label: Sentiment
    score: float = Field(ge=-1, le=1)
    confidence: float = Field(ge=0, le=1)
    unsure: bool
    mixed: bool


class TopicShown(Shown):
    id: str
    name: str
    score: float


class AspectShown(Shown):
    quote: str
    start: int
    end: int
    topic: str | None
    sentiment: Sentiment
    score: float


class AnalysisShown(Shown):
    sentiment: SentimentShown
    intent: Intent
    urgency: Urgency
    urgency_reasons: list[str]
    topics: list[TopicShown]
    aspects: list[AspectShown]
    language: str | None
    model: str


class ThemeName(Shown):
    id: str
    name: str


class AuthorShown(Shown):
    id: str | None
    name: str | None
    account: str | None
    segment: str | None


class FeedbackItem(Shown):
    id: str
    external_id: str | None
    response_id: str | None
    thread_id: str | None
    source: str
    channel: Channel
    title: str | None
    text: str | None
    author: AuthorShown | None
    rating: float | None
    rating_scale: RatingScale | None
    version: str | None
    segment: str | None
    language: str | None
    url: str | None
    tags: list[str]
    metadata: dict[str, Any]
    redacted: dict[str, int]
    truncated: bool
    created_at: str
    received_at: str
    status: FeedbackStatus
    analysis: AnalysisShown | None
    theme: ThemeName | None


class FeedbackPage(Shown):
    items: list[FeedbackItem]
    next: str | None


class DeadQuery(FilterQuery):
    q: Keywords | None = Field(default=None, description="Every word must occur.")
    limit: Limit = 50
    cursor: Cursor | None = None


class FeedbackQuery(DeadQuery):
    status: list[FeedbackStatus] = []
    like: Keywords | None = Field(
        default=None, description="A feedback id or free text: nearest in meaning first."
    )


class CorrectionIn(Strict):
    """What a person says; only the given fields change. `theme: null` means no theme."""

    sentiment: Sentiment | None = None
    intent: Intent | None = None
    urgency: Urgency | None = None
    topics: list[Value] | None = Field(default=None, max_length=50)
    theme: Value | None = None

    def said(self) -> dict[str, Any]:
        """The given fields; a null clears the theme and is ignored elsewhere."""
        given = self.model_dump(include=self.model_fields_set)
        if given.get("topics") is not None:
            given["topics"] = sorted(set(given["topics"]))
        return {name: value for name, value in given.items() if value is not None or name == "theme"}


class PersonIn(Strict):
    author_id: Value | None = None
    email: Value | None = None


class AlreadyLeft(Shown):
    event: int = Field(description="Its number in the audit.")
    kind: str
    at: str
    actor: str


class ErasureProof(Shown):
    id: str
    people: list[str] = Field(description="Keyed hashes only.")
    feedback: int
    themes: int = Field(description="Themes that were made to forget.")
    already_left: list[AlreadyLeft] = Field(
        description="Exports since the first of the feedback: copies that Voice cannot reach."
    )
    erased_at: str


class Allowed(Shown):
    allowed: bool = Field(description="False when nothing was suppressed.")
    address_suppressed: bool = Field(
        description="What carries their e-mail address is still refused: it was erased by the address."
    )


class PersonExport(Shown):
    people: list[dict[str, Any]]
    feedback: list[FeedbackItem]


class ReplayIn(Strict):
    feedback: list[Value] = Field(min_length=1, max_length=500)


class Replayed(Shown):
    replayed: int
