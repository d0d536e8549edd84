"""A survey response counts once: which of its feedback carries its rating."""

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from voice.db.dialects import insert_ignoring, run, table_of
from voice.db.tables import Feedback, Response
from voice.feedback.claims import REOPENED


def elect_first(session: Session, rated: dict[tuple[str, str, str], str]) -> dict[tuple[str, str, str], str]:
    """Let each new rating (project, source, response → feedback) carry its response's, unless another does; who does."""
    if not rated:
        return {}
    rows = [
        {"project_id": p, "source_id": s, "response_id": r, "feedback_id": rated[p, s, r]}
        for p, s, r in sorted(rated)
    ]
    run(session, insert_ignoring(session, table_of(Response)), rows)
    columns = tuple_(Response.project_id, Response.source_id, Response.response_id)
    found = session.execute(
        select(Response.project_id, Response.source_id, Response.response_id, Response.feedback_id).where(
            columns.in_(sorted(rated))
        )
    )
    return {(p, s, r): feedback_id for p, s, r, feedback_id in found}


def elect_rating(session: Session, project_id: str, source_id: str, response_id: str) -> None:
    """Choose anew which feedback of a response carries its rating: the oldest that has one.

    Call it when the holder lost its rating or is gone. Rows whose part in the trends changes by it are analysed again.
    """
    mine = (
        Feedback.project_id == project_id,
        Feedback.source_id == source_id,
        Feedback.response_id == response_id,
    )
    chosen = session.scalar(
        select(Feedback.id).where(*mine, Feedback.rating.is_not(None)).order_by(Feedback.id).limit(1)
    )
    for counts, whose in ((False, Feedback.id != (chosen or "")), (True, Feedback.id == (chosen or ""))):
        changed = update(Feedback).where(*mine, whose, Feedback.rating_counts.is_not(counts))
        session.execute(changed.values(rating_counts=counts, **REOPENED))
    key = (
        Response.project_id == project_id,
        Response.source_id == source_id,
        Response.response_id == response_id,
    )
    if chosen is None:
        session.execute(table_of(Response).delete().where(*key))
    else:
        row = {
            "project_id": project_id,
            "source_id": source_id,
            "response_id": response_id,
            "feedback_id": chosen,
        }
        run(session, insert_ignoring(session, table_of(Response)), [row])
        session.execute(update(Response).where(*key).values(feedback_id=chosen))
