"""Themes as people see them: size, people, sentiment, trend, quotes; merges resolved while reading."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from voice.clock import DAY, epoch_hour, from_epoch_hour, rfc3339
from voice.db.tables import Analysis, Feedback, Theme
from voice.search import FeedbackFilter, conditions
from voice.themes.ledger import survivors
from voice.trends.intervals import net

Status = Literal["new", "acknowledged", "in_progress", "fixed", "verified", "closed", "muted"]
Severity = Literal["S1", "S2", "S3", "S4"]
Sort = Literal["impact", "growth", "recent"]
STATUSES: tuple[Status, ...] = get_args(Status)
HIDDEN_UNLESS_ASKED: frozenset[str] = frozenset({"closed", "muted"})
TREND_DAYS = 14


@dataclass(frozen=True, slots=True)
class ThemeFilter:
    """Which themes, and of which feedback their numbers speak."""

    feedback: FeedbackFilter = field(default_factory=FeedbackFilter)
    status: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    emerging: bool | None = None


@dataclass(slots=True)
class Stats:
    """What is counted of one theme."""

    size: int = 0
    people: int = 0
    negative: int = 0
    neutral: int = 0
    positive: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    days: Counter[int] = field(default_factory=Counter)

    def growth(self, today: int) -> float:
        """This week's volume over last week's, each with one added so that small counts stay calm."""
        recent = sum(n for day, n in self.days.items() if today - 7 < day <= today)
        before = sum(n for day, n in self.days.items() if today - 14 < day <= today - 7)
        return (recent + 1) / (before + 1)


def list_themes(
    session: Session, project_id: str, wanted: ThemeFilter, *, sort: Sort, as_of: datetime
) -> list[dict[str, Any]]:
    """Live themes with at least one feedback that passes the filter, in the asked order."""
    themes = [t for t in _live(session, project_id) if _passes(t, wanted)]
    resolved = survivors(session, project_id)
    stats = _stats(session, project_id, wanted.feedback, resolved, as_of=as_of)
    today = _day(as_of)
    shown = [theme for theme in themes if stats[theme.id].size]
    shown.sort(key=lambda theme: (*_rank(stats[theme.id], sort, today), theme.id), reverse=True)
    quotes = _quotes(session, project_id, [quote for theme in shown for quote in theme.quotes])
    aliases = _aliases(resolved)
    return [_view(t, stats[t.id], quotes, aliases[t.id], as_of=as_of) for t in shown]


def view_theme(session: Session, theme: Theme, *, as_of: datetime) -> dict[str, Any]:
    """One live theme as the API shows it."""
    resolved = survivors(session, theme.project_id)
    aliases = _aliases(resolved)[theme.id]
    only = FeedbackFilter(theme=(theme.id, *aliases))
    stats = _stats(session, theme.project_id, only, resolved, as_of=as_of)[theme.id]
    return _view(theme, stats, _quotes(session, theme.project_id, theme.quotes), aliases, as_of=as_of)


def theme_names(session: Session, project_id: str) -> dict[str, str]:
    """Every theme id of a project, aliases too → the name of the theme it lives on in."""
    rows = session.execute(
        select(Theme.id, Theme.name, Theme.merged_into).where(Theme.project_id == project_id)
    ).all()
    names = {row.id: row.name for row in rows}
    return {row.id: names[row.merged_into or row.id] for row in rows}


def _rank(stats: Stats, sort: Sort, today: int) -> tuple[float, float]:
    if sort == "impact":
        return stats.people, stats.size
    if sort == "growth":
        return stats.growth(today), stats.size
    return (stats.last_seen.timestamp() if stats.last_seen is not None else 0.0), stats.size


def _live(session: Session, project_id: str) -> list[Theme]:
    live = select(Theme).where(Theme.project_id == project_id, Theme.merged_into.is_(None))
    return list(session.scalars(live.execution_options(populate_existing=True)))


def _passes(theme: Theme, wanted: ThemeFilter) -> bool:
    if wanted.status and theme.status not in wanted.status:
        return False
    if not wanted.status and theme.status in HIDDEN_UNLESS_ASKED:
        return False
    if wanted.emerging is not None and wanted.emerging != (theme.emerging is not None):
        return False
    return (not wanted.severity or theme.severity in wanted.severity) and (
        not wanted.owner or theme.owner in wanted.owner
    )


def _day(moment: datetime) -> int:
    return epoch_hour(moment) // 24


def _stats(
    session: Session, project_id: str, wanted: FeedbackFilter, resolved: dict[str, str], *, as_of: datetime
) -> dict[str, Stats]:
    head = func.coalesce(Theme.merged_into, Theme.id)
    here = [*conditions(project_id, wanted), Analysis.theme_id.is_not(None)]
    anonymous = func.sum(case((Feedback.person_id.is_(None), 1), else_=0))

    def labelled(name: str) -> ColumnElement[int]:
        return func.sum(case((Analysis.sentiment == name, 1), else_=0))

    rows = session.execute(
        select(
            head,
            func.count(),
            func.count(Feedback.person_id.distinct()) + anonymous,
            labelled("negative"),
            labelled("neutral"),
            labelled("positive"),
            func.min(Feedback.created_at),
            func.max(Feedback.created_at),
        )
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .join(Theme, Theme.id == Analysis.theme_id)
        .where(*here)
        .group_by(head)
    )
    found: dict[str, Stats] = defaultdict(Stats)
    for theme_id, size, people, negative, neutral, positive, first_seen, last_seen in rows:
        found[theme_id] = Stats(size, people, negative, neutral, positive, first_seen, last_seen)
    recent = session.execute(
        select(Analysis.theme_id, Feedback.created_at)
        .join(Feedback, Feedback.id == Analysis.feedback_id)
        .where(*here, Feedback.created_at > as_of - TREND_DAYS * DAY, Feedback.created_at <= as_of)
    )
    for assigned_id, created_at in recent:
        theme_id = assigned_id or ""
        found[resolved.get(theme_id, theme_id)].days[_day(created_at)] += 1
    return found


def _quotes(session: Session, project_id: str, ids: list[str]) -> dict[str, str]:
    rows = session.execute(
        select(Feedback.id, Feedback.text).where(
            Feedback.project_id == project_id, Feedback.id.in_(ids), Feedback.text.is_not(None)
        )
    )
    return {feedback_id: text for feedback_id, text in rows if text is not None}


def _aliases(resolved: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for alias, survivor in sorted(resolved.items()):
        found[survivor].append(alias)
    return found


def _view(
    theme: Theme, stats: Stats, quotes: dict[str, str], aliases: list[str], *, as_of: datetime
) -> dict[str, Any]:
    texts = stats.negative + stats.neutral + stats.positive
    score = net(stats.positive, stats.negative, texts)
    today = _day(as_of)
    days = range(today - TREND_DAYS + 1, today + 1)
    return {
        "id": theme.id,
        "name": theme.name,
        "name_source": theme.name_source,
        "keywords": theme.keywords,
        "quotes": [{"id": q, "text": quotes[q]} for q in theme.quotes if q in quotes],
        "size": stats.size,
        "people": stats.people,
        "sentiment": {
            "negative": stats.negative,
            "neutral": stats.neutral,
            "positive": stats.positive,
            "net": score.value,
            "low": score.low,
            "high": score.high,
        },
        "trend": [{"t": rfc3339(from_epoch_hour(day * 24)), "n": stats.days.get(day, 0)} for day in days],
        "first_seen": stats.first_seen and rfc3339(stats.first_seen),
        "last_seen": stats.last_seen and rfc3339(stats.last_seen),
        "severity": theme.severity,
        "status": theme.status,
        "owner": theme.owner,
        "emerging": theme.emerging,
        "aliases": aliases,
        "version": theme.revision,
    }
