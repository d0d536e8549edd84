"""Exact marginals: `project, dimension, value, hour` → integer counts and sums, kept by signed deltas.

Each analysed feedback carries a snapshot of what it contributes (`Analysis.counted`). Whatever changes it calls
`recount`, which applies new minus old and stores the new snapshot in the same transaction. So corrections,
re-analysis, moves and erasure leave the sums exactly right, whatever their order.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.clock import epoch_hour
from voice.db.dialects import add_up, lock_rows, table_of, write_column
from voice.db.tables import Analysis, Feedback, FeedbackTopic, Marginal, Source

Dimension = Literal[
    "all", "topic", "theme", "channel", "source", "version", "segment", "language", "intent", "urgency"
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

SUMS = (
    "n",
    "negative",
    "neutral",
    "positive",
    "score",
    "ratings",
    "rating",
    "rating_squares",
    "nps",
    "promoters",
    "detractors",
    "csat",
    "satisfied",
)

Cell = tuple[str, str, str, int]  # project, dimension, value, hour
Sums = tuple[int, ...]


def contribution(row: Any, *, topics: Iterable[str]) -> dict[str, Any]:
    """What one analysed feedback, a row of `_COUNTED`, adds to the marginals, as JSON: its hour, values and sums."""
    values: dict[Dimension, list[str | None]] = {
        "all": [""],
        "topic": [*sorted(topics)],
        "theme": [row.theme_id],
        "channel": [row.channel],
        "source": [row.slug],
        "version": [row.version],
        "segment": [row.segment],
        "language": [row.language],
        "intent": [row.intent],
        "urgency": [row.urgency],
    }
    present = {name: [v for v in given if v is not None] for name, given in values.items()}
    sums = {"n": 1, **_sentiment_sums(row), **_rating_sums(row)}
    return {
        "hour": epoch_hour(row.created_at),
        "values": {name: given for name, given in present.items() if given},
        "sums": [sums.get(name, 0) for name in SUMS],
    }


def _sentiment_sums(row: Any) -> dict[str, int]:
    if row.sentiment is None:
        return {}
    return {row.sentiment: 1, "score": row.score or 0}


def _rating_sums(row: Any) -> dict[str, int]:
    rating, scale = row.rating, row.rating_scale
    if rating is None or not row.rating_counts:
        return {}
    sums: dict[str, int] = {}
    if scale in ("stars", "csat"):
        hundredths = round(rating * 100)
        sums |= {"ratings": 1, "rating": hundredths, "rating_squares": hundredths**2}
    if scale == "csat":
        sums |= {"csat": 1, "satisfied": int(rating >= 4)}
    if scale == "nps":
        sums |= {"nps": 1, "promoters": int(rating >= 9), "detractors": int(rating <= 6)}
    return sums


def cells(project_id: str, counted: Mapping[str, Any]) -> Iterable[Cell]:
    """The marginal rows that a contribution touches."""
    for dimension, values in counted["values"].items():
        for value in values:
            yield project_id, dimension, value, counted["hour"]


def recount(session: Session, ids: Collection[str], *, gone: bool = False) -> None:
    """Bring the marginals to what these feedback rows say now (or to nothing, when they are about to be erased).

    Rows without an analysis are left alone. Call it in the transaction that changed them, after the change.
    """
    rows = _load(session, ids)
    topics = _topics(session, ids)
    deltas: dict[Cell, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    snapshots: dict[str, dict[str, Any] | None] = {}
    for row in rows:
        new = None if gone else contribution(row, topics=topics[row.id])
        if new == row.counted:
            continue
        for counted, sign in ((row.counted, -1), (new, 1)):
            if not counted:
                continue
            amounts = [(i, sign * amount) for i, amount in enumerate(counted["sums"]) if amount]
            for cell in cells(row.project_id, counted):
                sums = deltas[cell]
                for i, amount in amounts:
                    sums[i] += amount
        snapshots[row.id] = new
    _apply(session, deltas)
    write_column(session, table_of(Analysis), "feedback_id", "counted", snapshots)


# What `contribution` reads: no words, no vectors.
_COUNTED = (
    Feedback.id,
    Feedback.project_id,
    Feedback.channel,
    Feedback.version,
    Feedback.segment,
    Feedback.created_at,
    Feedback.rating,
    Feedback.rating_scale,
    Feedback.rating_counts,
    Analysis.theme_id,
    Analysis.language,
    Analysis.intent,
    Analysis.urgency,
    Analysis.sentiment,
    Analysis.score,
    Analysis.counted,
    Source.slug,
)


def _load(session: Session, ids: Collection[str]) -> Sequence[Any]:
    statement = (
        select(*_COUNTED)
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .join(Source, Source.id == Feedback.source_id)
        .where(Feedback.id.in_(ids))
        .order_by(Feedback.id)
    )
    # Not the source: intake needs it, and would wait for us while holding rows that we wait for.
    return session.execute(lock_rows(session, statement, of=(Feedback, Analysis))).all()


def _topics(session: Session, ids: Collection[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    rows = session.execute(
        select(FeedbackTopic.feedback_id, FeedbackTopic.topic_id).where(FeedbackTopic.feedback_id.in_(ids))
    )
    for feedback_id, topic_id in rows:
        found[feedback_id].append(topic_id)
    return found


def _apply(session: Session, deltas: Mapping[Cell, list[int]]) -> None:
    rows = [
        dict(zip(("project_id", "dimension", "value", "hour", *SUMS), (*cell, *deltas[cell]), strict=True))
        for cell in sorted(deltas)
        if any(deltas[cell])
    ]
    add_up(session, table_of(Marginal), rows, sums=SUMS)
