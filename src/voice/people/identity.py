"""Who an author is to Voice: keyed hashes of an id and of addresses, and a sealed identity."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.db.tables import Feedback, Person, PersonEmail
from voice.errors import Invalid
from voice.events import Change, append
from voice.feedback.suppression import address_key


@dataclass(frozen=True, slots=True)
class People:
    """The keyed hashes under which one person is known.

    `addresses` maps authors to their e-mail addresses, `address` suppresses everybody who writes from the address that
    was asked for, `author` is the hash that was asked for itself.
    """

    author: str
    ids: tuple[str, ...]
    addresses: dict[str, list[str]]
    address: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """What to suppress when the person is erased."""
        return self.ids if self.address is None else (*self.ids, self.address)


def find_people(
    session: Session, secrets: Secrets, project_id: str, *, author_id: str | None, email: str | None
) -> People:
    """Everybody known under this author id, or under this e-mail now or ever before.

    An author id also reaches what was sent without an id from an address that this author used; not what other authors
    sent from it, since an address may be shared. An e-mail reaches everybody who used it, and what they sent from
    their other addresses without an id. Raises Invalid unless exactly one of the two is given.
    """
    if (author_id is None) == (email is None):
        raise Invalid.field("author_id", "give either author_id or email")
    if author_id is not None:
        asked = secrets.person_key(project_id, "id", author_id)
        authors = {asked}
    else:
        asked = secrets.person_key(project_id, "email", email or "")
        found = _addresses(
            session, project_id, used=PersonEmail.email_key == asked, newest=Person.email_key == asked
        )
        authors = {asked, *(person for person, _ in found)}
    theirs = _addresses(
        session, project_id, used=PersonEmail.person_id.in_(authors), newest=Person.id.in_(authors)
    )
    addresses: dict[str, list[str]] = {}
    for person, key in sorted(theirs):
        addresses.setdefault(person, []).append(key)
    ids = authors | {key for _, key in theirs}
    address = address_key(secrets, project_id, email) if email is not None else None
    return People(asked, tuple(sorted(ids)), addresses, address)


def _addresses(
    session: Session, project_id: str, *, used: ColumnElement[bool], newest: ColumnElement[bool]
) -> set[tuple[str, str]]:
    """(author, key of an address) as `used` and `newest` choose them.

    Voice 0.1.0, which may run beside this version during an upgrade, keeps only an author's newest address.
    """
    ever = select(PersonEmail.person_id, PersonEmail.email_key).where(
        PersonEmail.project_id == project_id, used
    )
    now = select(Person.id, Person.email_key).where(Person.project_id == project_id, newest)
    found = [*session.execute(ever), *session.execute(now)]
    return {(person, key) for person, key in found if key is not None}


def feedback_of(session: Session, project_id: str, people: Sequence[str]) -> list[str]:
    """Ids of everything these people said."""
    said = select(Feedback.id).where(Feedback.project_id == project_id, Feedback.person_id.in_(people))
    return list(session.scalars(said.order_by(Feedback.id)))


def export(
    session: Session, secrets: Secrets, project_id: str, people: Sequence[str], *, actor: str, now: datetime
) -> dict[str, Any]:
    """What is known of these people: their identities, unsealed, and the ids of all they said.

    The reading itself is recorded as the event `person.exported`.
    """
    after = {"people": list(people)}
    append(session, Change(project_id, "person.exported", people[0], actor, now, after=after))
    rows = session.scalars(
        select(Person).where(Person.project_id == project_id, Person.id.in_(people)).order_by(Person.id)
    )
    return {
        "people": [secrets.unseal(row.sealed) for row in rows],
        "feedback": feedback_of(session, project_id, people),
    }


def authors_of(session: Session, project_id: str, feedback: Sequence[str]) -> list[str]:
    """The keyed hashes of those who wrote these; ask before reading what is shown, so that nobody is missed."""
    wrote = select(Feedback.person_id).where(
        Feedback.project_id == project_id, Feedback.id.in_(feedback), Feedback.person_id.is_not(None)
    )
    return sorted(person for person in set(session.scalars(wrote)) if person is not None)


def record_reading(
    session: Session, project_id: str, people: Sequence[str], *, actor: str, now: datetime
) -> None:
    """Record that somebody was shown who these authors are: an event with keyed hashes. Nothing for nobody."""
    if people:
        after = {"people": list(people)}
        append(session, Change(project_id, "person.read", project_id, actor, now, after=after))
