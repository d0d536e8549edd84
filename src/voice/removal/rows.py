"""Rows of feedback and all that hangs on them, removed in one transaction."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from voice.db.dialects import CHUNK, lock_rows
from voice.db.tables import Analysis, Event, Feedback, Project, Source, Theme
from voice.feedback.ratings import elect_rating
from voice.feedback.suppression import hold_intake
from voice.trends import recount

_WORD = re.compile(r"[^\W_]+")


@dataclass(slots=True)
class Removed:
    """What went, as far as others must hear of it.

    Ids; the themes that may have learned from it; its authors; its ids at its sources, as (source, id); and when the
    first of it arrived.
    """

    ids: list[str] = field(default_factory=list)
    themes: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    external: set[tuple[str, str]] = field(default_factory=set)
    since: datetime | None = None


def remove_feedback(session: Session, project_id: str, ids: Sequence[str]) -> Removed:
    """Delete at most CHUNK feedback rows: results, vectors, topics, corrections, events about them, their part in trends.

    Themes keep what they learned until `themes.forgetting.forget` is called. An evaluation of themes that is running on
    what it read before will not be written. No intake that could meet the same authors or items runs beside it.
    """
    if len(ids) > CHUNK:
        raise ValueError(f"at most {CHUNK} rows in one transaction")
    hold_intake(session)
    mine = (Feedback.project_id == project_id, Feedback.id.in_(ids))
    # A worker that is recording results has these rows: what it counts must be seen by the recount below.
    session.execute(lock_rows(session, select(Feedback.id).where(*mine).order_by(Feedback.id)))
    counted = update(Project).where(Project.id == project_id)
    session.execute(counted.values(removals=Project.removals + 1))
    recount(session, ids, gone=True)
    removed, responses, words = _read(session, project_id, ids)
    session.execute(delete(Feedback).where(Feedback.id.in_(removed.ids)))
    for source_id, response_id in sorted(responses):
        elect_rating(session, project_id, source_id, response_id)
    session.execute(delete(Event).where(Event.project_id == project_id, Event.subject_id.in_(removed.ids)))
    removed.themes |= _learned(session, project_id, set(removed.ids), words)
    return removed


def _read(
    session: Session, project_id: str, ids: Sequence[str]
) -> tuple[Removed, set[tuple[str, str]], set[str]]:
    """What is about to go, the survey responses it belongs to, and its words."""
    removed = Removed()
    responses: set[tuple[str, str]] = set()
    words: set[str] = set()
    rows = session.execute(
        select(
            Feedback.id,
            Feedback.external_id,
            Feedback.person_id,
            Feedback.received_at,
            Feedback.source_id,
            Feedback.response_id,
            Feedback.title,
            Feedback.text,
            Source.slug,
            Analysis.theme_id,
        )
        .join(Source, Source.id == Feedback.source_id)
        .outerjoin(Analysis, Analysis.feedback_id == Feedback.id)
        .where(Feedback.project_id == project_id, Feedback.id.in_(ids))
        .order_by(Feedback.id)
    )
    for row in rows:
        removed.ids.append(row.id)
        removed.themes |= {row.theme_id} - {None}
        removed.people |= {row.person_id} - {None}
        removed.since = min(removed.since or row.received_at, row.received_at)
        if row.external_id is not None:
            removed.external.add((row.slug, row.external_id))
        if row.response_id is not None:
            responses.add((row.source_id, row.response_id))
        words.update(_WORD.findall(f"{row.title or ''} {row.text or ''}".lower()))
    return removed, responses, words


def _learned(session: Session, project_id: str, ids: Collection[str], words: Collection[str]) -> set[str]:
    """Themes that quote one of the rows, or whose name or keywords have a word in common with them."""
    found = set()
    themes = select(Theme.id, Theme.name, Theme.keywords, Theme.quotes).where(Theme.project_id == project_id)
    for theme_id, name, keywords, quotes in session.execute(themes):
        said = _WORD.findall(" ".join([name, *keywords]).lower())
        if not set(quotes).isdisjoint(ids) or not set(said).isdisjoint(words):
            found.add(theme_id)
    return found
