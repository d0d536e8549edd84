"""The window: the recent verbatims of a project that discovery and emergence look at."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.analysis.language import UNKNOWN
from voice.analysis.vectors import unpack
from voice.db.tables import ANALYSED, Analysis, Feedback
from voice.themes.ledger import survivors

_NOT_A_WORD = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True)
class Item:
    """One verbatim of the window; `theme_id` is resolved, `assigned_id` as stored."""

    id: str
    text: str
    language: str | None
    person: str
    created_at: datetime
    theme_id: str | None
    assigned_id: str | None
    by_person: bool
    score: float

    def is_in(self, languages: frozenset[str] | None) -> bool:
        """Whether the text is in one of these languages, as far as one can tell; None: any will do."""
        return languages is None or self.language in (None, UNKNOWN, *languages)

    @property
    def wording(self) -> str:
        """The text without case, digits and punctuation: equal for copies."""
        return _NOT_A_WORD.sub(" ", self.text.casefold()).strip()


@dataclass(frozen=True, slots=True)
class Window:
    """Items, oldest first, and their unit vectors (n, d), from `start` to `as_of`."""

    items: tuple[Item, ...]
    vectors: NDArray[np.float32]
    start: datetime
    as_of: datetime


def read_window(
    session: Session, project_id: str, *, as_of: datetime, days: int, most: int, encoder: str
) -> Window:
    """The newest `most` analysed verbatims of the last `days`. A verbatim without an author is its own person."""
    start = as_of - timedelta(days=days)
    resolved = survivors(session, project_id)
    rows = session.execute(
        select(
            Feedback.id,
            Feedback.text,
            Analysis.language,
            Feedback.person_id,
            Feedback.created_at,
            Analysis.theme_id,
            Analysis.theme_by,
            Analysis.score,
            Analysis.embedding,
        )
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .where(
            Feedback.project_id == project_id,
            Feedback.created_at > start,
            Feedback.created_at <= as_of,
            Feedback.status == ANALYSED,
            Analysis.encoder == encoder,
            Feedback.text.is_not(None),
        )
        .order_by(Feedback.created_at.desc(), Feedback.id.desc())
        .limit(most)
    ).all()
    rows = rows[::-1]
    items = tuple(
        Item(
            id=row.id,
            text=row.text or "",
            language=row.language,
            person=row.person_id or row.id,
            created_at=row.created_at,
            theme_id=resolved.get(row.theme_id, row.theme_id) if row.theme_id else None,
            assigned_id=row.theme_id,
            by_person=row.theme_by == "person",
            score=(row.score or 0) / 10_000,
        )
        for row in rows
    )
    return Window(items, unpack([row.embedding for row in rows if row.embedding is not None]), start, as_of)
