"""Trends: one call for every metric, dimension and interval."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.deps import Reading, RuntimeDep, Viewer
from api.routes.views import resolved_filter
from api.schemas.trends import TrendQueryIn, TrendShown
from voice.analysis.topic_editing import topic_names
from voice.clock import DAY, HOUR, epoch_hour, from_epoch_hour, rfc3339
from voice.errors import Invalid
from voice.themes.ledger import survivors
from voice.themes.queries import theme_names
from voice.trends import TrendQuery, read_trend

router = APIRouter(prefix="/v1/trends", tags=["trends"])

DEFAULT_SPAN = timedelta(days=30)


@router.get("", operation_id="getTrends")
def get_trends(
    query: Annotated[TrendQueryIn, Query()], principal: Viewer, session: Reading, runtime: RuntimeDep
) -> TrendShown:
    """A metric over time, in all or by a dimension, each point with its n and 95 % interval.

    Default: the last 30 days, by day, in UTC; ISO weeks. An empty bucket has n 0 and value null.
    """
    now = runtime.clock()
    end = query.end or from_epoch_hour(epoch_hour(now) + 1)
    start = query.start or _midnight(end - DEFAULT_SPAN)
    if start >= end:
        raise Invalid.field("from", "must lie before to")
    if end - start > 92 * DAY:  # long spans are whole hours, so that the marginals answer them exactly
        start, end = (
            from_epoch_hour(epoch_hour(start)),
            from_epoch_hour(epoch_hour(end - timedelta(microseconds=1)) + 1),
        )
    trend = read_trend(
        session,
        principal.project_id,
        TrendQuery(
            metric=query.metric,
            by=query.by or "all",
            interval=query.interval,
            start=start,
            end=end,
            label=query.label,
            limit=query.limit,
            wanted=resolved_filter(session, principal.project_id, query),
            survivors=survivors(session, principal.project_id),
        ),
    )
    names = _names(session, principal.project_id, query.by)
    series = [
        {
            "value": one.value or "all",
            "name": names.get(one.value, one.value or "All feedback"),
            "points": [
                {
                    "t": rfc3339(p.t),
                    "n": p.estimate.n,
                    "value": p.estimate.value,
                    "low": p.estimate.low,
                    "high": p.estimate.high,
                }
                for p in one.points
            ],
        }
        for one in trend.series
    ]
    shown: dict[str, Any] = {
        "metric": query.metric,
        "by": query.by,
        "interval": query.interval,
        "from": rfc3339(start),
        "to": rfc3339(end),
        "as_of": rfc3339(now),
        "exact_from": trend.exact_from,
        "series": series,
    }
    return TrendShown.model_validate(shown)


def _midnight(moment: datetime) -> datetime:
    hour = epoch_hour(moment)
    return from_epoch_hour(hour - hour % (DAY // HOUR))


def _names(session: Session, project_id: str, by: str | None) -> dict[str, str]:
    if by == "topic":
        return topic_names(session, project_id)
    if by == "theme":
        return theme_names(session, project_id)
    return {}
