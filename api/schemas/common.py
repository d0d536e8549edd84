"""Shapes that every route shares."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from voice.feedback.submission import Moment, Slug
from voice.search import FeedbackFilter

Sentiment = TypeAliasType("Sentiment", Literal["negative", "neutral", "positive"])
Intent = TypeAliasType("Intent", Literal["complaint", "request", "question", "praise", "other"])
Urgency = TypeAliasType("Urgency", Literal["critical", "high", "medium", "low"])
FeedbackStatus = TypeAliasType("FeedbackStatus", Literal["pending", "analysed", "dead"])

Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,400}$")]
Value = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Limit = Annotated[int, Field(ge=1, le=500)]
Keywords = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class Strict(BaseModel):
    """Unknown fields and unknown query parameters are refused."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """An answer."""

    model_config = ConfigDict(extra="forbid")


class Fault(Shown):
    field: str = Field(description="Dotted path of the field.")
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault]


class FilterQuery(Strict):
    """The filters of lists and trends; a key given again means OR."""

    channel: list[Value] = []
    source: list[Slug] = []
    version: list[Value] = []
    segment: list[Value] = []
    language: list[Value] = []
    topic: list[Value] = []
    theme: list[Value] = []
    sentiment: list[Sentiment] = []
    intent: list[Intent] = []
    urgency: list[Urgency] = []
    start: Moment | None = Field(default=None, alias="from", description="Inclusive, RFC 3339.")
    end: Moment | None = Field(default=None, alias="to", description="Exclusive, RFC 3339.")

    def feedback_filter(
        self,
        *,
        theme: tuple[str, ...],
        status: tuple[str, ...] = (),
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> FeedbackFilter:
        """As the search understands it; `theme` comes resolved."""
        return FeedbackFilter(
            channel=tuple(self.channel),
            source=tuple(self.source),
            version=tuple(self.version),
            segment=tuple(self.segment),
            language=tuple(self.language),
            topic=tuple(self.topic),
            theme=theme,
            sentiment=tuple(self.sentiment),
            intent=tuple(self.intent),
            urgency=tuple(self.urgency),
            status=status,
            start=start or self.start,
            end=end or self.end,
        )


class PreviewQuery(Strict):
    preview: bool = Field(default=False, description="Show the effect and change nothing.")


class Done(Shown):
    """A change that was made: the event that can be undone, null when nothing changed."""

    event: int | None


class Effect(Shown):
    """What a change would do."""

    preview: Literal[True] = True
    feedback: int = Field(description="How many feedback items would move.")
    details: dict[str, Any] = {}
