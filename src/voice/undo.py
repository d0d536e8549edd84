"""Undo: each kind of event is taken back by the package that made it."""

from datetime import datetime

from sqlalchemy.orm import Session

from voice import corrections
from voice.db.tables import Event
from voice.errors import Conflict
from voice.themes import ledger


def undo_event(session: Session, event: Event, *, actor: str, now: datetime) -> int:
    """Take an event back; returns the new event's id. Raises Conflict when it was, or cannot be, undone."""
    if event.kind == "feedback.corrected":
        return corrections.undo(session, event, actor=actor, now=now)
    if event.kind.startswith("theme."):
        return ledger.undo(session, event, actor=actor, now=now)
    raise Conflict(f"a change of kind {event.kind!r} cannot be undone")
