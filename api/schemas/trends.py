"""Trends on the wire."""

from typing import Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from api.schemas.common import FilterQuery, Sentiment, Shown

Metric = TypeAliasType(
    "Metric", Literal["volume", "net_sentiment", "sentiment_share", "rating", "nps", "csat"]
)
By = TypeAliasType(
    "By",
    Literal["topic", "theme", "channel", "source", "version", "segment", "language", "intent", "urgency"],
)
Interval = TypeAliasType("Interval", Literal["hour", "day", "week"])
ExactFrom = TypeAliasType("ExactFrom", Literal["marginals", "rows"])


class TrendQueryIn(FilterQuery):
    metric: Metric = "volume"
    by: By | None = Field(default=None, description="One series per value; one series in all when not given.")
    interval: Interval = "day"
    label: Sentiment = Field(default="negative", description="For sentiment_share.")
    limit: int = Field(default=50, ge=1, le=500, description="Most series, the busiest first.")


class PointShown(Shown):
    t: str
    n: int
    value: float | None
    low: float | None
    high: float | None


class SeriesShown(Shown):
    value: str
    name: str
    points: list[PointShown]


class TrendShown(Shown):
    metric: Metric
    by: By | None
    interval: Interval
    start: str = Field(alias="from")
    to: str
    as_of: str
    exact_from: ExactFrom
    series: list[SeriesShown]
