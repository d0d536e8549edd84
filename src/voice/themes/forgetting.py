"""Forgetting: what a theme learned from feedback that is gone, its words, its quotes and its centre, goes too."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from voice.analysis.vectors import pack, unpack
from voice.db.dialects import lock_rows
from voice.db.tables import Analysis, Event, Feedback, Project, Theme
from voice.events import Change, append
from voice.themes.ledger import family, find_survivor
from voice.themes.name import UNNAMED

ACTOR = "erasure"
ERASED = "[erased]"
_MOST_VECTORS = 5_000
_WORD = re.compile(r"[^\W_]+")


def forget(session: Session, theme_id: str, *, now: datetime) -> None:
    """Bring a theme, what it lives on in and its aliases to what their present members say.

    A keyword, or a machine's name, with a word that no member says any more goes; so does the old name in events. What a
    person named stays. Call it after the members were removed.
    """
    theme = session.get(Theme, theme_id)
    if theme is None:
        return
    # An evaluation that read the old names must not write them: it is fenced by this number.
    mine = update(Project).where(Project.id == theme.project_id)
    session.execute(mine.values(removals=Project.removals + 1))
    head = find_survivor(session, theme.project_id, theme_id)
    whole = family(session, theme.project_id, [head.id])
    for one in session.scalars(
        lock_rows(session, select(Theme).where(Theme.id.in_(whole)).order_by(Theme.id))
    ):
        members = whole if one.id == head.id else (one.id,)
        _forget_in(session, one, members, _Spoken(session, whole), now=now)


class _Spoken:
    """Whether the members of some themes still say a word."""

    def __init__(self, session: Session, themes: Sequence[str]) -> None:
        self._session, self._themes = session, themes
        self._known: dict[str, bool] = {}

    def says(self, phrase: str) -> bool:
        """True when every word of the phrase occurs in a member."""
        return all(self._says_word(word) for word in _WORD.findall(phrase.lower()))

    def _says_word(self, word: str) -> bool:
        if word not in self._known:
            said: ColumnElement[bool] = or_(
                func.lower(Feedback.text).contains(word, autoescape=True),
                func.lower(Feedback.title).contains(word, autoescape=True),
            )
            members = select(Feedback.id).join(Analysis, Analysis.feedback_id == Feedback.id)
            found = members.where(Analysis.theme_id.in_(self._themes), said).limit(1)
            self._known[word] = self._session.scalar(found) is not None
        return self._known[word]


def _forget_in(
    session: Session, theme: Theme, members: Sequence[str], spoken: _Spoken, *, now: datetime
) -> None:
    alive = set(session.scalars(select(Feedback.id).where(Feedback.id.in_(theme.quotes))))
    keywords = [word for word in theme.keywords if spoken.says(word)]
    values: dict[str, Any] = {
        "quotes": [quote for quote in theme.quotes if quote in alive],
        "keywords": keywords,
        "centroid": _centroid(session, theme, members),
        "revision": Theme.revision + 1,
    }
    if theme.name_source == "machine" and not spoken.says(theme.name):
        name = keywords[0].capitalize() if keywords else f"{UNNAMED} {theme.id[-4:]}"
        # A theme that was named when it had no texts is named anew by the next evaluation.
        values |= {"name": name, "named_size": 0}
        before, after = {"name": ERASED}, {"name": name}
        append(session, Change(theme.project_id, "theme.renamed", theme.id, ACTOR, now, before, after))
    session.execute(update(Theme).where(Theme.id == theme.id).values(**values))
    _forget_names(session, theme.id, spoken)


def _centroid(session: Session, theme: Theme, members: Sequence[str]) -> bytes | None:
    """The direction of the newest members; None when nobody is left, so that the theme takes nothing new."""
    if theme.centroid is None:
        return None
    newest = (
        select(Analysis.embedding)
        .where(Analysis.theme_id.in_(members), Analysis.encoder == theme.encoder)
        .where(Analysis.embedding.is_not(None))
        .order_by(Analysis.feedback_id.desc())
        .limit(_MOST_VECTORS)
    )
    vectors = [vector for vector in session.scalars(newest) if vector is not None]
    if not vectors:
        return None
    mean = unpack(vectors).mean(axis=0)
    return pack(np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32))


def _forget_names(session: Session, theme_id: str, spoken: _Spoken) -> None:
    """Names that machines gave the theme and that nobody's words support any more, wherever events keep them."""
    for event in session.scalars(select(Event).where(Event.subject_id == theme_id)):
        sides = {side: dict(getattr(event, side)) for side in ("before", "after")}
        kept = {
            side: {
                field: ERASED
                if field == "name" and not _by_person(event, side) and not spoken.says(value)
                else value
                for field, value in found.items()
            }
            for side, found in sides.items()
        }
        if kept != sides:
            session.execute(update(Event).where(Event.id == event.id).values(**kept))


def _by_person(event: Event, side: str) -> bool:
    """Whether a name in an event is what a person called the theme."""
    return event.kind == "theme.edited" and (side == "after" or event.before.get("name_source") == "person")
