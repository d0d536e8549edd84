"""A negative control: `voice.feedback.claims.finish` as it would be without the token."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from voice.db.tables import ANALYSED, Feedback
from voice.feedback.claims import Claim


def finish(session: Session, held: Claim) -> set[str]:
    """Mark the rows analysed, whoever holds them by now."""
    mine = update(Feedback).where(Feedback.id.in_(held.ids))
    done = mine.values(status=ANALYSED, lease_token=None, lease_until=None, last_error=None, alone=False)
    return set(session.scalars(done.returning(Feedback.id)))
