"""Themes on the wire."""

from typing import Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from api.schemas.common import Cursor, FilterQuery, Limit, Shown, Strict, Value

ThemeStatus = TypeAliasType(
    "ThemeStatus", Literal["new", "acknowledged", "in_progress", "fixed", "verified", "closed", "muted"]
)
Severity = TypeAliasType("Severity", Literal["S1", "S2", "S3", "S4"])
NameSource = TypeAliasType("NameSource", Literal["machine", "person"])
ThemeSort = TypeAliasType("ThemeSort", Literal["impact", "growth", "recent"])


class Quote(Shown):
    id: str
    text: str


class ThemeSentiment(Shown):
    negative: int
    neutral: int
    positive: int
    net: float | None
    low: float | None
    high: float | None


class TrendDay(Shown):
    t: str
    n: int


class EmergingShown(Shown):
    since: str
    rate_ratio: float
    low: float
    high: float
    p: float
    recent: int
    baseline: int


class ThemeShown(Shown):
    id: str
    name: str
    name_source: NameSource
    keywords: list[str]
    quotes: list[Quote]
    size: int
    people: int
    sentiment: ThemeSentiment
    trend: list[TrendDay]
    first_seen: str | None
    last_seen: str | None
    severity: Severity | None
    status: ThemeStatus
    owner: str | None
    emerging: EmergingShown | None
    aliases: list[str]
    version: int


class ThemePage(Shown):
    items: list[ThemeShown]
    next: str | None


class ThemeQuery(FilterQuery):
    status: list[ThemeStatus] = []
    severity: list[Severity] = []
    owner: list[Value] = []
    emerging: bool | None = None
    sort: ThemeSort = "impact"
    limit: Limit = 50
    cursor: Cursor | None = None


class ThemeEdit(Strict):
    name: Value | None = None
    status: ThemeStatus | None = None
    severity: Severity | None = None
    owner: Value | None = None

    def changes(self) -> dict[str, Any]:
        """The given fields; null clears severity and owner and is ignored for name and status."""
        given = self.model_dump(include=self.model_fields_set)
        return {k: v for k, v in given.items() if v is not None or k in ("severity", "owner")}


class MergeIn(Strict):
    into: Value


class SplitIn(Strict):
    feedback: list[Value] | None = Field(default=None, min_length=1, max_length=5_000)
    proposal: Value | None = Field(default=None, description="One of those that the preview shows.")
    name: Value | None = None


class MoveIn(Strict):
    feedback: list[Value] = Field(min_length=1, max_length=5_000)
    into: Value | None = Field(default=None, description="Null takes them out of every theme.")


class ThemeChange(Shown):
    """A theme after a change, and the event that undoes it."""

    event: int | None
    theme: ThemeShown
    created: ThemeShown | None = None


class EventShown(Shown):
    id: int
    kind: str
    subject_id: str
    actor: str
    at: str
    as_of: str
    before: dict[str, Any]
    after: dict[str, Any]
    undone_by: int | None


class EventPage(Shown):
    items: list[EventShown]
    next: str | None


class AuditQuery(Strict):
    subject: Value | None = None
    kind: list[Value] = []
    limit: Limit = 50
    cursor: Cursor | None = None
