"""Series over time: one number per bucket and value, each with its n and a 95 % interval."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import (
    BigInteger,
    Integer,
    SQLColumnExpression,
    and_,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.orm import Session

from voice.clock import DAY, HOUR, epoch_hour, from_epoch_hour
from voice.db.tables import Analysis, Feedback, Marginal
from voice.errors import Invalid
from voice.search import FeedbackFilter, conditions
from voice.trends.intervals import EMPTY, Estimate, count, mean, net, share
from voice.trends.marginals import SUMS, Dimension

Metric = Literal["volume", "net_sentiment", "sentiment_share", "rating", "nps", "csat"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Interval = Literal["hour", "day", "week"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)
Label = Literal["negative", "neutral", "positive"]

MAX_ROWS_SPAN = timedelta(days=92)
MAX_BUCKETS = 5_000
_WIDTH: dict[Interval, timedelta] = {"hour": HOUR, "day": DAY, "week": 7 * DAY}
_EPOCH_WEEKDAY_HOURS = 3 * 24  # 1970-01-01 was a Thursday; ISO weeks start on Monday


@dataclass(frozen=True, slots=True)
class TrendQuery:
    """What to draw. `survivors` maps every merged theme id to the theme it lives on in."""

    metric: Metric
    by: Dimension
    interval: Interval
    start: datetime
    end: datetime
    label: Label = "negative"
    limit: int = 50
    wanted: FeedbackFilter = field(default_factory=FeedbackFilter)
    survivors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket: its start and what it says."""

    t: datetime
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one value of the dimension, oldest first, no bucket left out."""

    value: str
    points: tuple[Point, ...]

    @property
    def n(self) -> int:
        """How much data the whole series rests on."""
        return sum(point.estimate.n for point in self.points)


@dataclass(frozen=True, slots=True)
class Trend:
    """Every series, the busiest first, and where its numbers were read from."""

    series: tuple[Series, ...]
    exact_from: Literal["marginals", "rows"]


_Buckets = dict[str, dict[int, list[int]]]


def read_trend(session: Session, project_id: str, query: TrendQuery) -> Trend:
    """The trend of a project. Raises Invalid when it would need too many buckets, or rows over more than 92 days."""
    buckets = _bucket_starts(query)
    exact_from: Literal["marginals", "rows"] = "rows" if _needs_rows(query) else "marginals"
    read = _from_rows if exact_from == "rows" else _from_marginals
    sums = _add_up(read(session, project_id, query), query)
    if query.by == "all":
        sums.setdefault("", {})
    rests_on = [SUMS.index(name) for name in _RESTS_ON[query.metric]]
    sizes = {
        value: sum(bucket[i] for bucket in by_bucket.values() for i in rests_on)
        for value, by_bucket in sums.items()
    }
    spoken = [value for value, n in sizes.items() if n or query.by == "all"]
    spoken.sort(key=lambda value: (-sizes[value], value))
    estimate = _estimator(query)  # for those shown alone: an interval costs more than all the adding up
    series = [
        Series(value, tuple(Point(from_epoch_hour(b), estimate(sums[value].get(b))) for b in buckets))
        for value in spoken[: query.limit]
    ]
    return Trend(tuple(series), exact_from)


def _bucket(hour: int, interval: Interval) -> int:
    if interval == "hour":
        return hour
    if interval == "day":
        return hour - hour % 24
    return hour - (hour + _EPOCH_WEEKDAY_HOURS) % 168


def _bucket_of(hour: SQLColumnExpression[int], interval: Interval) -> SQLColumnExpression[int]:
    """`_bucket` for the database to do: hundreds of themes by hour are many rows, by day or week they are few."""
    # Spelled out and not bound: PostgreSQL must see that what is selected is what is grouped by.
    day, week, weekday = (literal_column(str(hours), Integer) for hours in (24, 168, _EPOCH_WEEKDAY_HOURS))
    if interval == "hour":
        return hour
    if interval == "day":
        return hour - hour % day
    return hour - (hour + weekday) % week


def _bucket_starts(query: TrendQuery) -> range:
    width = _WIDTH[query.interval] // HOUR
    first = _bucket(epoch_hour(query.start), query.interval)
    last = epoch_hour(query.end - timedelta(microseconds=1))
    starts = range(first, last + 1, width)
    if len(starts) > MAX_BUCKETS:
        raise Invalid.field("interval", f"{len(starts)} buckets; choose a longer interval or a shorter span")
    return starts


def _on_the_hour(moment: datetime) -> bool:
    return (moment.minute, moment.second, moment.microsecond) == (0, 0, 0)


def _needs_rows(query: TrendQuery) -> bool:
    """Marginals answer one dimension in whole hours; anything else reads rows."""
    filtered = set(query.wanted.named())
    one_dimension = filtered <= {query.by} and "sentiment" not in filtered
    if one_dimension and _on_the_hour(query.start) and _on_the_hour(query.end):
        return False
    if one_dimension and query.end - query.start > MAX_ROWS_SPAN:
        return False
    if query.end - query.start > MAX_ROWS_SPAN:
        raise Invalid.field("from", f"with these filters a trend spans at most {MAX_ROWS_SPAN.days} days")
    return True


def _from_marginals(
    session: Session, project_id: str, query: TrendQuery
) -> Iterable[tuple[str, int, Sequence[int]]]:
    bucket, needed = _bucket_of(Marginal.hour, query.interval), _NEEDS[query.metric]
    # PostgreSQL adds whole numbers up to a decimal one.
    sums = [
        cast(func.sum(getattr(Marginal, name)), BigInteger) if name in needed else literal(0) for name in SUMS
    ]
    statement = (
        select(Marginal.value, bucket, *sums)
        .where(
            Marginal.project_id == project_id,
            Marginal.dimension == query.by,
            Marginal.hour >= epoch_hour(query.start),
            Marginal.hour <= epoch_hour(query.end - timedelta(microseconds=1)),
        )
        .group_by(Marginal.value, bucket)
    )
    if values := query.wanted.named().get(query.by):
        statement = statement.where(Marginal.value.in_(values))
    for row in session.execute(statement):
        yield row[0], row[1], row[2:]


def _from_rows(
    session: Session, project_id: str, query: TrendQuery
) -> Iterable[tuple[str, int, Sequence[int]]]:
    spanned = and_(Feedback.created_at >= query.start, Feedback.created_at < query.end)
    statement = (
        select(Analysis.counted)
        .join(Feedback, Feedback.id == Analysis.feedback_id)
        .where(*conditions(project_id, query.wanted), spanned, Analysis.counted.is_not(None))
    )
    chosen = set(query.wanted.named().get(query.by, ()))
    for (counted,) in session.execute(statement.execution_options(yield_per=5_000)):
        assert counted is not None
        for value in counted["values"].get(query.by, ()):
            if not chosen or query.by == "source" or value in chosen:
                yield value, counted["hour"], counted["sums"]


def _add_up(rows: Iterable[tuple[str, int, Sequence[int]]], query: TrendQuery) -> _Buckets:
    found: _Buckets = defaultdict(dict)
    for value, hour, amounts in rows:
        value = query.survivors.get(value, value) if query.by == "theme" else value
        bucket = found[value].setdefault(_bucket(hour, query.interval), [0] * len(SUMS))
        for i, amount in enumerate(amounts):
            bucket[i] += amount
    return {value: by_bucket for value, by_bucket in found.items() if any(any(b) for b in by_bucket.values())}


def _estimator(query: TrendQuery) -> Callable[[list[int] | None], Estimate]:
    def estimate(sums: list[int] | None) -> Estimate:
        return EMPTY if sums is None else _ESTIMATES[query.metric](dict(zip(SUMS, sums, strict=True)), query)

    return estimate


def _texts(s: dict[str, int]) -> int:
    return s["negative"] + s["neutral"] + s["positive"]


_TEXTS = frozenset({"negative", "neutral", "positive"})
_NEEDS: dict[Metric, frozenset[str]] = {
    "volume": frozenset({"n"}),
    "net_sentiment": _TEXTS,
    "sentiment_share": _TEXTS,
    "rating": frozenset({"ratings", "rating", "rating_squares"}),
    "nps": frozenset({"nps", "promoters", "detractors"}),
    "csat": frozenset({"csat", "satisfied"}),
}
"""The sums that each of `_ESTIMATES` reads."""

_RESTS_ON: dict[Metric, tuple[str, ...]] = {
    "volume": ("n",),
    "net_sentiment": ("negative", "neutral", "positive"),
    "sentiment_share": ("negative", "neutral", "positive"),
    "rating": ("ratings",),
    "nps": ("nps",),
    "csat": ("csat",),
}
"""The sums that make the n of each of `_ESTIMATES`."""

_ESTIMATES: dict[Metric, Callable[[dict[str, int], Any], Estimate]] = {
    "volume": lambda s, _: count(s["n"]),
    "net_sentiment": lambda s, _: net(s["positive"], s["negative"], _texts(s)),
    "sentiment_share": lambda s, query: share(s[query.label], _texts(s)),
    "rating": lambda s, _: mean(s["ratings"], s["rating"], s["rating_squares"], low=1, high=5),
    "nps": lambda s, _: net(s["promoters"], s["detractors"], s["nps"]),
    "csat": lambda s, _: share(s["satisfied"], s["csat"]),
}
