"""Trends: exact marginals kept by signed deltas, series and intervals read from them."""

from voice.trends.marginals import DIMENSIONS, recount
from voice.trends.series import (
    INTERVALS,
    METRICS,
    Point,
    Series,
    Trend,
    TrendQuery,
    read_trend,
)

__all__ = [
    "DIMENSIONS",
    "INTERVALS",
    "METRICS",
    "Point",
    "Series",
    "Trend",
    "TrendQuery",
    "read_trend",
    "recount",
]
