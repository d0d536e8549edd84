"""Exact marginals: `project, dimension, value, hour` → integer counts and sums, kept by signed deltas.

Each analysed feedback carries a snapshot of what it contributes (`Analysis.counted`). Whatever changes it calls
`recount`, which applies new minus old and stores the new snapshot in the same transaction. So corrections,
re-analysis, moves and erasure leave the sums exactly right, whatever their order.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, get_args

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from voice.clock import epoch_hour
from voice.db.dialects import add_up, lock_rows, run, table_of
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


def contribution(
    feedback: Feedback, analysis: Analysis, *, source: str, topics: Iterable[str]
) -> dict[str, Any]:
    """What one analysed feedback adds to the marginals, as JSON: its hour, its values per dimension, its sums."""
    values: dict[Dimension, list[str | None]] = {
        "all": [""],
        "topic": [*sorted(topics)],
        "theme": [analysis.theme_id],
        "channel": [feedback.channel],
        "source": [source],
        "version": [feedback.version],
        "segment": [feedback.segment],
        "language": [analysis.language],
        "intent": [analysis.intent],
        "urgency": [analysis.urgency],
    }
    present = {name: [v for v in given if v is not None] for name, given in values.items()}
    sums = {"n": 1, **_sentiment_sums(analysis), **_rating_sums(feedback)}
    return {
        "hour": epoch_hour(feedback.created_at),
        "values": {name: given for name, given in present.items() if given},
        "sums": [sums.get(name, 0) for name in SUMS],
    }


def _sentiment_sums(analysis: Analysis) -> dict[str, int]:
    if analysis.sentiment is None:
        return {}
    return {analysis.sentiment: 1, "score": analysis.score or 0}


def _rating_sums(feedback: Feedback) -> dict[str, int]:
    rating, scale = feedback.rating, feedback.rating_scale
    if rating is None or not feedback.rating_counts:
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
    snapshots = []
    for feedback, analysis, source in rows:
        new = None if gone else contribution(feedback, analysis, source=source, topics=topics[feedback.id])
        if new == analysis.counted:
            continue
        for counted, sign in ((analysis.counted, -1), (new, 1)):
            for cell in cells(feedback.project_id, counted) if counted else ():
                sums = deltas[cell]
                for i, amount in enumerate(counted["sums"] if counted else ()):
                    sums[i] += sign * amount
        snapshots.append({"whose": feedback.id, "now": new})
    _apply(session, deltas)
    table = table_of(Analysis)
    statement = (
        update(table).where(table.c.feedback_id == bindparam("whose")).values(counted=bindparam("now"))
    )
    run(session, statement, snapshots)
    for _, analysis, _ in rows:
        session.expire(analysis)


def _load(session: Session, ids: Collection[str]) -> list[tuple[Feedback, Analysis, str]]:
    statement = (
        select(Feedback, Analysis, Source.slug)
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .join(Source, Source.id == Feedback.source_id)
        .where(Feedback.id.in_(ids))
        .order_by(Feedback.id)
    )
    # Not the source: intake needs it, and would wait for us while holding rows that we wait for.
    locked = lock_rows(session, statement, of=(Feedback, Analysis))
    rows = session.execute(locked.execution_options(populate_existing=True))
    return [(feedback, analysis, slug) for feedback, analysis, slug in rows]


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
