"""How long a trend takes over 50 thousand and over 5 million rows of the same 90 days.

Run: `python benchmarks/trends.py` (minutes, and some 15 GB of disk for a while; `--rows` for less). The rows are written
by the database itself (bulk.py). A query is what `GET /v1/trends` does behind the key: the aliases of themes and
`read_trend`, in a transaction of its own. Without filters the marginals answer; with filters the rows do.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from benchmarks.bulk import Bulk, midnight
from benchmarks.harness import Spread, installation, options, project_of, ratio, table, write_result
from voice.clock import utc_now
from voice.runtime import Runtime
from voice.search import FeedbackFilter
from voice.themes.ledger import survivors
from voice.trends import TrendQuery, read_trend
from voice.trends.marginals import Dimension
from voice.trends.series import Interval, Metric

DAYS = 90
ANY = FeedbackFilter()


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: what it is called, and what it is."""

    name: str
    by: Dimension
    metric: Metric
    interval: Interval
    days: int
    wanted: FeedbackFilter = ANY

    def query(self, end: datetime, aliases: dict[str, str]) -> TrendQuery:
        return TrendQuery(
            metric=self.metric,
            by=self.by,
            interval=self.interval,
            start=end - timedelta(days=self.days),
            end=end,
            wanted=self.wanted,
            survivors=aliases,
        )


PLAIN = (
    Asked("volume a day, 90 days", "all", "volume", "day", 90),
    Asked("net sentiment by topic a day, 90 days", "topic", "net_sentiment", "day", 90),
    Asked("volume by theme a day, 28 days", "theme", "volume", "day", 28),
    Asked("volume by theme a day, 90 days", "theme", "volume", "day", 90),
    Asked("net sentiment by channel an hour, 28 days", "channel", "net_sentiment", "hour", 28),
    Asked("volume by version a week, 90 days", "version", "volume", "week", 90),
)
FILTERED = (
    Asked(
        "by topic a day, 28 days, one channel and one segment", "topic", "net_sentiment", "day", 28,
        FeedbackFilter(channel=("ticket",), segment=("segment-1",)),
    ),
    Asked(
        "volume a day, 7 days, one theme", "all", "volume", "day", 7,
        FeedbackFilter(theme=(f"{150:026}",)),
    ),
)  # fmt: skip


def once(runtime: Runtime, project_id: str, asked: Asked, end: datetime) -> float:
    """Seconds of one query."""
    began = time.perf_counter()
    with runtime.database.read() as session:
        aliases = survivors(session, project_id)
        found = read_trend(session, project_id, asked.query(end, aliases))
    taken = time.perf_counter() - began
    if not any(series.n for series in found.series):
        raise RuntimeError(f"{asked.name}: found nothing")
    return taken


def size(runtime: Runtime) -> int:
    """Bytes on disk of the whole database."""
    if runtime.settings.is_embedded_database:
        return sum(path.stat().st_size for path in runtime.settings.data_dir.glob("voice.db*"))
    with runtime.database.read() as session:
        return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def measure(database: str, *, few: int, many: int, repeats: int) -> tuple[list[list[str]], str]:
    """The rows of the table for a database, and what filling it took."""
    start = midnight(utc_now(), days_before=DAYS + 1)
    end = start + timedelta(days=DAYS)
    with installation(database) as small, installation(database) as large:
        taken = {}
        for runtime, rows in ((small, few), (large, many)):
            began = time.perf_counter()
            Bulk(runtime, rows=rows, start=start, days=DAYS).fill()
            taken[rows] = time.perf_counter() - began
            print(f"{database}: {rows:,} rows in {taken[rows]:.0f} s", flush=True)
        filled = (
            f"{database}: {many:,} rows took {taken[many]:.0f} s to write and {size(large) / 1e9:.1f} GB of disk, "
            f"{(size(large) - size(small)) / (many - few):.0f} bytes a row."
        )
        ask = asker(small, large, end)
        lines = []
        for kind, queries in (("marginals", PLAIN), ("rows", FILTERED)):
            for asked in queries:
                times = ask(asked, repeats if kind == "marginals" else max(3, repeats // 3))
                shown = " / ".join(f"{Spread.of(times[which]).median * 1e3:,.1f}" for which in (0, 1))
                lines.append([f"{database}: {asked.name}", kind, ratio(times[1], times[0]).shown(), shown])
                print(lines[-1], flush=True)
    return lines, filled


def asker(
    small: Runtime, large: Runtime, end: datetime
) -> Callable[[Asked, int], tuple[list[float], list[float]]]:
    """Asks both installations in turns, after one time to warm up."""
    places = [(runtime, project_of(runtime)) for runtime in (small, large)]

    def ask(asked: Asked, repeats: int) -> tuple[list[float], list[float]]:
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats + 1):
            for which, (runtime, project_id) in enumerate(places):
                taken = once(runtime, project_id, asked, end)
                if turn:
                    times[which].append(taken)
        return times

    return ask


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, few=50_000, rows=5_000_000, repeats=15)
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    if (free := shutil.disk_usage(folder).free) < asked.rows * 4_000:
        raise SystemExit(
            f"{free / 1e9:.0f} GB free: too little for {asked.rows:,} rows; choose fewer with --rows"
        )
    heads = ("query", "answered from", "many ÷ few", "milliseconds, few / many")
    explained = (
        f"Few: {asked.few:,} rows; many: {asked.rows:,}; both spread over the same {DAYS} days, warm caches. Medians of the "
        "turns' quotients, with the least and the greatest. Queries answered from rows read every row of their span that "
        "passes, so they grow with the rows."
    )
    lines, notes = [], []
    for database in asked.databases:  # each is written at once: the next may take long
        found, filled = measure(database, few=asked.few, many=asked.rows, repeats=asked.repeats)
        lines += found
        notes.append(f"- {filled}")
        parts = [table(heads, lines), explained, "\n".join(notes)]
        write_result("trends", "Trends over few rows and many", asked, parts)


if __name__ == "__main__":
    main()
