"""The event log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from voice.clock import rfc3339
from voice.db.tables import Event
from voice.errors import NotFound


@dataclass(frozen=True, slots=True)
class Change:
    """One change about to be recorded. `at` is when it was made, `as_of` the moment it speaks for."""

    project_id: str
    kind: str
    subject_id: str
    actor: str
    at: datetime
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    as_of: datetime | None = None

    def row(self) -> dict[str, Any]:
        return {
            "project_id": self.project_id,
            "kind": self.kind,
            "subject_id": self.subject_id,
            "actor": self.actor,
            "at": self.at,
            "as_of": self.as_of or self.at,
            "before": self.before,
            "after": self.after,
        }


def append(session: Session, change: Change) -> int:
    """Record one change; returns the event's id."""
    return session.execute(insert(Event).values(**change.row()).returning(Event.id)).scalar_one()


def append_all(session: Session, changes: Sequence[Change]) -> None:
    """Record many changes."""
    if changes:
        session.execute(insert(Event), [change.row() for change in changes])


def amend(session: Session, event_id: int, *, after: dict[str, Any]) -> None:
    """Say how something that was recorded when it began came out."""
    session.execute(update(Event).where(Event.id == event_id).values(after=after))


def get_event(session: Session, project_id: str, event_id: int, *, lock: bool = False) -> Event:
    """One event of the project; `lock` keeps others from undoing it meanwhile. Raises NotFound."""
    event = session.get(Event, event_id, with_for_update=lock or None) if 0 < event_id < 2**63 else None
    if event is None or event.project_id != project_id:
        raise NotFound("no such event")
    return event


def mark_undone(session: Session, event_id: int, *, by: int) -> None:
    """Note that event `by` took `event_id` back."""
    session.execute(update(Event).where(Event.id == event_id).values(undone_by=by))


def read_events(
    session: Session,
    project_id: str,
    *,
    before: int | None = None,
    subject_id: str | None = None,
    kinds: Sequence[str] = (),
    limit: int = 50,
) -> list[Event]:
    """Events of a project, newest first, older than id `before`."""
    statement = select(Event).where(Event.project_id == project_id)
    if before is not None:
        statement = statement.where(Event.id < before)
    if subject_id is not None:
        statement = statement.where(Event.subject_id == subject_id)
    if kinds:
        statement = statement.where(Event.kind.in_(kinds))
    return list(session.scalars(statement.order_by(Event.id.desc()).limit(limit)))


def event_view(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "id": event.id,
        "kind": event.kind,
        "subject_id": event.subject_id,
        "actor": event.actor,
        "at": rfc3339(event.at),
        "as_of": rfc3339(event.as_of),
        "before": event.before,
        "after": event.after,
        "undone_by": event.undone_by,
    }
