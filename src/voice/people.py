"""A person: what is kept of one author, and its erasure from everything derived."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.clock import rfc3339
from voice.db.dialects import CHUNK
from voice.db.tables import Event, Feedback, Person, Theme
from voice.errors import Invalid
from voice.events import Change, append
from voice.feedback.intake import elect_rating
from voice.trends import recount


def person_ids(
    session: Session, secrets: Secrets, project_id: str, *, author_id: str | None, email: str | None
) -> list[str]:
    """The keyed ids of everybody known under this author id or e-mail. Raises Invalid when neither is given."""
    if (author_id is None) == (email is None):
        raise Invalid.field("author_id", "give either author_id or email")
    if author_id is not None:
        return [secrets.person_key(project_id, "id", author_id)]
    key = secrets.person_key(project_id, "email", email or "")
    known = select(Person.id).where(
        Person.project_id == project_id, or_(Person.email_key == key, Person.id == key)
    )
    return sorted(set(session.scalars(known)) | {key})


def feedback_of(session: Session, project_id: str, people: Sequence[str]) -> list[str]:
    """Ids of everything these people said."""
    said = select(Feedback.id).where(Feedback.project_id == project_id, Feedback.person_id.in_(people))
    return list(session.scalars(said.order_by(Feedback.id)))


def erase(
    session: Session, project_id: str, people: Sequence[str], *, actor: str, now: datetime
) -> dict[str, Any]:
    """Erase people and all they said: rows, analyses, vectors, corrections, quotes, and their part in the trends.

    Returns a proof record that holds only keyed hashes; it is kept as the event `person.erased`.
    """
    ids = feedback_of(session, project_id, people)
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        recount(session, part, gone=True)
        responses = session.execute(
            select(Feedback.source_id, Feedback.response_id)
            .where(Feedback.id.in_(part), Feedback.response_id.is_not(None))
            .distinct()
        ).all()
        session.execute(delete(Feedback).where(Feedback.id.in_(part)))
        for source_id, response_id in responses:
            if response_id is not None:
                elect_rating(session, project_id, source_id, response_id)
    _forget_in_themes(session, project_id, set(ids))
    _forget_in_events(session, project_id, ids)
    session.execute(delete(Person).where(Person.project_id == project_id, Person.id.in_(people)))
    proof = {"people": sorted(people), "feedback": len(ids), "erased_at": rfc3339(now)}
    append(session, Change(project_id, "person.erased", people[0], actor, now, after=proof))
    return proof


def _forget_in_themes(session: Session, project_id: str, ids: set[str]) -> None:
    for theme in session.scalars(select(Theme).where(Theme.project_id == project_id)):
        if ids & set(theme.quotes):
            left = [quote for quote in theme.quotes if quote not in ids]
            session.execute(update(Theme).where(Theme.id == theme.id).values(quotes=left))


def _forget_in_events(session: Session, project_id: str, ids: Sequence[str]) -> None:
    """Events hold ids and labels, never words; those about an erased feedback go with it."""
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        session.execute(delete(Event).where(Event.project_id == project_id, Event.subject_id.in_(part)))


def export(
    session: Session, secrets: Secrets, project_id: str, people: Sequence[str], *, actor: str, now: datetime
) -> dict[str, Any]:
    """What is known of these people: their identities, unsealed, and the ids of all they said.

    The reading itself is recorded as the event `person.exported`.
    """
    append(session, Change(project_id, "person.exported", people[0], actor, now))
    rows = session.scalars(select(Person).where(Person.project_id == project_id, Person.id.in_(people)))
    return {
        "people": [secrets.unseal(row.sealed) for row in rows],
        "feedback": feedback_of(session, project_id, people),
    }
