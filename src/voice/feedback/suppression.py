"""Suppression: what was erased is never stored again, however it comes back: sent, pulled, imported or restored.

Only keyed hashes are remembered: of an author, of an e-mail address, and of an item's id at its source.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.db.dialects import CHUNK, close_gate, insert_ignoring, pass_gate, run, table_of
from voice.db.tables import Suppression

_GATE = "erasure"


def address_key(secrets: Secrets, project_id: str, email: str) -> str:
    """The hash that suppresses everybody who writes from an address.

    Another one than the key of an author known by the address alone: an address may be shared, and erasing one author
    who uses it must not silence the others.
    """
    return secrets.person_key(project_id, "address", email.strip().casefold())


def begin_storing(session: Session) -> None:
    """Let no removal begin until the transaction has ended. Before any row is locked, so that nobody waits in a ring."""
    pass_gate(session, _GATE)


def hold_intake(session: Session) -> None:
    """Wait for transactions that may be storing, and let none begin until this one has ended. First thing in it."""
    close_gate(session, _GATE)


def suppressed(session: Session, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these (project, key) are suppressed. No erasure can begin until the transaction has ended."""
    if not keys:
        return set()
    begin_storing(session)
    found: set[tuple[str, str]] = set()
    ordered = sorted({key for _, key in keys})
    for start in range(0, len(ordered), CHUNK):
        part = ordered[start : start + CHUNK]
        rows = session.execute(
            select(Suppression.project_id, Suppression.key).where(Suppression.key.in_(part))
        )
        found |= {(project_id, key) for project_id, key in rows}
    return found & set(keys)


def suppress(session: Session, project_id: str, keys: Iterable[str], *, now: datetime) -> None:
    """Never store again what carries one of these keys. Call `hold_intake` first."""
    rows = [{"project_id": project_id, "key": key, "at": now} for key in sorted(set(keys))]
    run(session, insert_ignoring(session, table_of(Suppression)), rows)


def lift(session: Session, project_id: str, keys: Collection[str]) -> int:
    """Store again what carries these keys; returns how many were suppressed."""
    mine = (Suppression.project_id == project_id, Suppression.key.in_(keys))
    return len(session.scalars(delete(Suppression).where(*mine).returning(Suppression.key)).all())
