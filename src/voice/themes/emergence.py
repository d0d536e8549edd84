"""Emergence in a project: counts distinct people per day and theme, and asks `emerge` what they mean.

Three recent windows are tested (one, three and seven days), each at a third of the level. A theme that emerged is measured
against the time before it did, until its rate falls back or its baseline leaves the window.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from voice.clock import parse_rfc3339, rfc3339
from voice.themes.emerge import LEVEL, Counts, Emergence, dispersion, emerging
from voice.themes.window import Item, Window

RECENT_DAYS = (1.0, 3.0, 7.0)


@dataclass(frozen=True, slots=True)
class Living:
    """A live theme and what is known of its emergence so far."""

    id: str
    emerging: Mapping[str, Any] | None


def detect(window: Window, themes: Sequence[Living]) -> dict[str, dict[str, Any] | None]:
    """For every live theme its emergence as the API shows it, or None."""
    members: dict[str, list[Item]] = defaultdict(list)
    for item in window.items:
        if item.theme_id is not None:
            members[item.theme_id].append(item)
    first = window.items[0].created_at if window.items else window.as_of
    found: dict[str, dict[str, Any] | None] = {theme.id: None for theme in themes}
    calm = [theme for theme in themes if theme.emerging is None]
    best = _test(window, calm, members, first=first, until=window.as_of)
    for theme in themes:
        if theme.emerging is not None:
            since = parse_rfc3339(theme.emerging["since"])
            best |= _test(window, [theme], members, first=first, until=since)
    for theme in themes:
        evidence = best.get(theme.id)
        if evidence is not None:
            since_text = theme.emerging["since"] if theme.emerging is not None else rfc3339(window.as_of)
            found[theme.id] = _shown(evidence, since_text)
    return found


def _test(
    window: Window,
    themes: Sequence[Living],
    members: Mapping[str, list[Item]],
    *,
    first: datetime,
    until: datetime,
) -> dict[str, Emergence]:
    """The strongest evidence per theme over the recent windows; the baseline ends where they begin, or before `until`."""
    best: dict[str, Emergence] = {}
    for days in RECENT_DAYS:
        recent_from = window.as_of - timedelta(days=days)
        baseline_to = min(recent_from, until - timedelta(days=days))
        baseline_days = (baseline_to - first) / timedelta(days=1)
        if baseline_days <= 0:
            continue
        recent_all, baseline_all = _split(window.items, recent_from, baseline_to)
        counts = []
        for theme in themes:
            recent, baseline = _split(members[theme.id], recent_from, baseline_to)
            counts.append(
                Counts(
                    recent=_voices(recent),
                    baseline=_voices(baseline),
                    texts=len({item.wording for item in recent}),
                    people=len({item.person for item in recent}),
                )
            )
        verdicts = emerging(
            counts,
            recent_days=days,
            baseline_days=baseline_days,
            total_recent=max(_voices_by_theme(recent_all), max((c.recent for c in counts), default=0)),
            total_baseline=max(_voices_by_theme(baseline_all), max((c.baseline for c in counts), default=0)),
            dispersion=_dispersion(baseline_all, first, baseline_days),
            level=LEVEL / len(RECENT_DAYS),
        )
        for theme, verdict in zip(themes, verdicts, strict=True):
            evidence = verdict.evidence
            if verdict.emerging and evidence is not None:
                known = best.get(theme.id)
                if known is None or evidence.p < known.p:
                    best[theme.id] = evidence
    return best


def _split(
    items: Sequence[Item], recent_from: datetime, baseline_to: datetime
) -> tuple[list[Item], list[Item]]:
    recent = [item for item in items if item.created_at > recent_from]
    baseline = [item for item in items if item.created_at <= baseline_to]
    return recent, baseline


def _voices(items: Sequence[Item]) -> int:
    """Distinct people, once a day each; copies of one wording count once a day, whoever sends them."""
    people = {(item.person, item.created_at.date()) for item in items}
    wordings = {(item.wording, item.created_at.date()) for item in items}
    return min(len(people), len(wordings))


def _voices_by_theme(items: Sequence[Item]) -> int:
    """The same count over the whole project: a person speaks once a day in each theme."""
    by_theme: dict[str | None, list[Item]] = defaultdict(list)
    for item in items:
        by_theme[item.theme_id].append(item)
    return sum(_voices(part) for part in by_theme.values())


def _dispersion(items: Sequence[Item], first: datetime, days: float) -> float:
    width = max(1, int(days))
    by_cell: dict[tuple[str, int], list[Item]] = defaultdict(list)
    for item in items:
        day = min(width - 1, int((item.created_at - first) / timedelta(days=1)))
        if item.theme_id is not None:
            by_cell[item.theme_id, day].append(item)
    rows = {theme_id: row for row, theme_id in enumerate(sorted({theme_id for theme_id, _ in by_cell}))}
    table = np.zeros((len(rows), width), dtype=np.int64)
    for (theme_id, day), part in by_cell.items():
        table[rows[theme_id], day] = _voices(part)
    return dispersion(table)


def _shown(evidence: Emergence, since: str) -> dict[str, Any]:
    return {
        "since": since,
        "rate_ratio": round(evidence.rate_ratio, 3),
        "low": round(evidence.low, 3),
        "high": round(evidence.high, 3),
        "p": evidence.p,
        "recent": evidence.recent,
        "baseline": evidence.baseline,
    }
