"""Splitting a theme: proposals from its own members, and what a new theme made of some of them starts with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.analysis.vectors import pack, unpack
from voice.db.tables import Analysis, Feedback, Theme
from voice.errors import Conflict, Invalid
from voice.ids import known_form
from voice.themes.assign import theme_threshold
from voice.themes.discover import discover
from voice.themes.ledger import family

MOST_MEMBERS = 5_000
_SHORTEST_NAME_WORDS = 6


@dataclass(frozen=True, slots=True)
class SplitProposal:
    """Members that belong together, and a token that stands for exactly them."""

    token: str
    feedback: tuple[str, ...]
    quote: str

    def shown(self) -> dict[str, Any]:
        return {
            "proposal": self.token,
            "size": len(self.feedback),
            "quote": self.quote,
            "feedback": list(self.feedback),
        }


@dataclass(frozen=True, slots=True)
class _Members:
    ids: list[str]
    texts: list[str]
    vectors: NDArray[np.float32]


def _members(session: Session, theme: Theme, only: Sequence[str] | None = None) -> _Members:
    wanted = None if only is None else set(only)
    statement = (
        select(Feedback.id, Feedback.text, Analysis.embedding)
        .join(Analysis, Analysis.feedback_id == Feedback.id)
        .where(Analysis.theme_id.in_(family(session, theme.project_id, [theme.id])))
        .where(Analysis.encoder == theme.encoder, Analysis.embedding.is_not(None))
        .order_by(Feedback.created_at.desc(), Feedback.id.desc())
        .limit(MOST_MEMBERS)
    )
    rows = [row for row in session.execute(statement) if wanted is None or row.id in wanted]
    return _Members(
        [row.id for row in rows],
        [row.text or "" for row in rows],
        unpack([row.embedding for row in rows if row.embedding is not None]),
    )


def propose(session: Session, theme: Theme) -> list[SplitProposal]:
    """The groups that discovery finds among the members alone; fewer than two groups propose nothing."""
    members = _members(session, theme)
    if not members.ids:
        return []
    labels = discover(members.vectors, texts=members.texts).labels
    groups = [np.flatnonzero(labels == k) for k in range(labels.max(initial=-1) + 1)]
    if len(groups) < 2:
        return []
    return [_proposal(members, rows) for rows in groups]


def _proposal(members: _Members, rows: NDArray[np.int64]) -> SplitProposal:
    ids = sorted(members.ids[i] for i in rows)
    token = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    return SplitProposal(token, tuple(ids), members.texts[rows[_central(members.vectors[rows])]])


def _central(vectors: NDArray[np.float32]) -> int:
    return int((vectors @ vectors.mean(axis=0)).argmax())


def chosen(
    session: Session, theme: Theme, *, feedback: Sequence[str] | None, proposal: str | None
) -> list[str]:
    """The members that a request names. Raises Invalid unless one way is given, Conflict for a stale proposal."""
    if (feedback is None) == (proposal is None):
        raise Invalid.field("feedback", "give either feedback or proposal")
    if feedback is not None:
        return [known_form(feedback_id, what="feedback") for feedback_id in feedback]
    for one in propose(session, theme):
        if one.token == proposal:
            return list(one.feedback)
    raise Conflict("the theme has changed since that proposal; ask for the preview again")


def new_theme(session: Session, theme: Theme, ids: Sequence[str], *, name: str | None) -> dict[str, Any]:
    """What a theme made of these members starts with: centre, threshold, quotes, a name."""
    members = _members(session, theme, ids)
    values: dict[str, Any] = {
        "project_id": theme.project_id,
        "encoder": theme.encoder,
        "algorithm": "person",
        "pinned": True,
        "name": name or f"{theme.name[:190]} (2)",
        "name_source": "person" if name else "machine",
        "centroid": None,
        "threshold": theme.threshold,
    }
    if not members.ids:
        return values
    mean = members.vectors.mean(axis=0)
    centroid = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)
    central = np.argsort(-(members.vectors @ centroid), kind="stable")
    if name is None:
        words = members.texts[central[0]].split()[:_SHORTEST_NAME_WORDS]
        values["name"] = " ".join(words)[:80] or values["name"]
    return values | {
        "centroid": pack(centroid),
        "threshold": theme_threshold(members.vectors @ centroid),
        "quotes": [members.ids[i] for i in central[:4]],
    }
