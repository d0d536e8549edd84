"""Claims: a worker owns a batch of rows for the length of a lease, and only its token may finish them.

pending → claimed (lease, token) → analysed | dead. See docs/decisions for why the row and not the broker is the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from voice.db.dialects import now_ms, pick_for_update
from voice.db.tables import ANALYSED, CLAIMED, DEAD, PENDING, Feedback
from voice.errors import NotFound
from voice.events import Change, append
from voice.ids import new_id

FRONT = 10_000
"""Rows at the front of the queue that `backlog` looks at one by one."""

REOPENED = {
    "status": PENDING,
    "attempts": 0,
    "alone": False,
    "lease_token": None,
    "lease_until": None,
    "last_error": None,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Rows that belong to one worker until the lease ends, oldest first."""

    token: str
    rows: tuple[Feedback, ...]
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        # Noted now: after a commit that failed the rows themselves can no longer be read.
        object.__setattr__(self, "ids", [row.id for row in self.rows])


def claim(session: Session, *, limit: int, lease_seconds: int) -> Claim | None:
    """Take up to `limit` rows that nobody holds; a row whose batch failed before is taken alone. None: nothing waits."""
    now = now_ms(session)
    free = or_(Feedback.status == PENDING, and_(Feedback.status == CLAIMED, Feedback.lease_until < now))
    ids = _pick(session, free, limit)
    if not ids:
        return None
    token = new_id()
    values = {"status": CLAIMED, "lease_token": token, "lease_until": now + lease_seconds * 1000}
    # A lease that ran out counts as a failure of its batch: its worker may have died of one of these rows.
    lost = case((Feedback.status == CLAIMED, True), else_=Feedback.alone)
    attempts = case(
        (and_(Feedback.status == CLAIMED, Feedback.alone), Feedback.attempts + 1), else_=Feedback.attempts
    )
    session.execute(
        update(Feedback).where(Feedback.id.in_(ids)).values(**values, alone=lost, attempts=attempts)
    )
    rows = session.scalars(select(Feedback).where(Feedback.id.in_(ids)).order_by(Feedback.id))
    return Claim(token, tuple(rows))


def _pick(session: Session, free: ColumnElement[bool], limit: int) -> list[str]:
    """The oldest free row decides: suspect rows go one by one, the others together."""
    suspect = or_(Feedback.alone, Feedback.status == CLAIMED)
    first = select(Feedback.id, suspect.label("suspect")).where(free).order_by(Feedback.id).limit(1)
    oldest = session.execute(pick_for_update(session, first)).first()
    if oldest is None or oldest.suspect:
        return [] if oldest is None else [oldest.id]
    together = select(Feedback.id).where(free, ~suspect).order_by(Feedback.id).limit(limit)
    return list(session.scalars(pick_for_update(session, together)))


def renew(session: Session, held: Claim, *, lease_seconds: int) -> bool:
    """Hold the rows longer; False when none of them is ours any more."""
    until = now_ms(session) + lease_seconds * 1000
    mine = update(Feedback).where(Feedback.lease_token == held.token, Feedback.id.in_(held.ids))
    return bool(session.execute(mine.values(lease_until=until).returning(Feedback.id)).first())


def finish(session: Session, held: Claim) -> set[str]:
    """Mark the rows analysed, fenced by the token: returns the ids that were still ours."""
    mine = update(Feedback).where(Feedback.lease_token == held.token, Feedback.id.in_(held.ids))
    done = mine.values(status=ANALYSED, lease_token=None, lease_until=None, last_error=None, alone=False)
    return set(session.scalars(done.returning(Feedback.id)))


def give_back(session: Session, held: Claim) -> None:
    """Free rows whose claim ended through no fault of theirs: nothing counts against them. Others' rows stay theirs."""
    mine = update(Feedback).where(Feedback.lease_token == held.token, Feedback.id.in_(held.ids))
    session.execute(mine.values(status=PENDING, lease_token=None, lease_until=None))


def fail(session: Session, held: Claim, *, error: str, max_attempts: int, now: datetime) -> None:
    """Give the rows back after a failure. Only a claim of one counts; `max_attempts` of those make the row dead."""
    mine = (Feedback.lease_token == held.token, Feedback.id.in_(held.ids))
    freed = {"lease_token": None, "lease_until": None, "last_error": error[:300], "alone": True}
    if len(held.rows) > 1:
        session.execute(update(Feedback).where(*mine).values(status=PENDING, **freed))
        return
    attempts = Feedback.attempts + 1
    status = case((attempts >= max_attempts, DEAD), else_=PENDING)
    counted = update(Feedback).where(*mine).values(status=status, attempts=attempts, **freed)
    ended = session.execute(counted.returning(Feedback.id, Feedback.project_id, Feedback.status)).first()
    if ended is not None and ended.status == DEAD:
        append(
            session,
            Change(ended.project_id, "feedback.dead", ended.id, "worker", now, after={"error": error[:300]}),
        )


def bury_exhausted(session: Session, held: Claim, *, max_attempts: int, now: datetime) -> bool:
    """Set a claim of one aside when its row killed its worker too often to be tried again; False when it may be."""
    row = held.rows[0]
    if not row.alone or row.attempts < max_attempts:
        return False
    mine = update(Feedback).where(Feedback.lease_token == held.token, Feedback.id == row.id)
    freed = {"lease_token": None, "lease_until": None, "last_error": "lease lost"}
    session.execute(mine.values(status=DEAD, **freed))
    append(
        session, Change(row.project_id, "feedback.dead", row.id, "worker", now, after={"error": "lease lost"})
    )
    return True


def replay(session: Session, project_id: str, ids: Sequence[str], *, actor: str, now: datetime) -> int:
    """Put dead rows back in the queue; returns how many. Raises NotFound when an id is not a dead row here."""
    dead = (Feedback.project_id == project_id, Feedback.status == DEAD, Feedback.id.in_(ids))
    revived = set(session.scalars(update(Feedback).where(*dead).values(**REOPENED).returning(Feedback.id)))
    if missing := sorted(set(ids) - revived):
        raise NotFound(f"not dead, or not in this project: {', '.join(missing)}")
    for feedback_id in sorted(revived):
        append(session, Change(project_id, "feedback.replayed", feedback_id, actor, now))
    return len(revived)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, how much of it a worker holds, and for how long the oldest has waited."""

    pending: int
    claimed: int
    dead: int
    oldest_seconds: float


def backlog(session: Session, *, now: datetime, project_id: str | None = None) -> Backlog:
    """What is not analysed yet, in one project or in all.

    Rows are claimed oldest first, so who holds what, and how old the oldest is, is read from the front of the queue.
    """
    here = [] if project_id is None else [Feedback.project_id == project_id]
    waiting = (Feedback.status < ANALYSED, *here)
    pending = session.scalar(select(func.count()).where(*waiting).select_from(Feedback)) or 0
    front = select(Feedback.status, Feedback.received_at).where(*waiting).order_by(Feedback.id).limit(FRONT)
    oldest_rows = front.subquery()
    claimed, oldest = session.execute(
        select(
            func.count().filter(oldest_rows.c.status == CLAIMED), func.min(oldest_rows.c.received_at)
        ).select_from(oldest_rows)
    ).one()
    dead = (
        session.scalar(select(func.count()).where(Feedback.status == DEAD, *here).select_from(Feedback)) or 0
    )
    age = max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0
    return Backlog(pending, claimed, dead, age)
