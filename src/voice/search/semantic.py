"""Search by meaning: exact cosine over the stored half-precision vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.analysis.vectors import unpack
from voice.db.tables import Analysis, Feedback
from voice.search.filters import FeedbackFilter, conditions

_PAGE = 5_000


def most_similar(
    session: Session,
    project_id: str,
    query: NDArray[np.float32],
    *,
    encoder: str,
    wanted: FeedbackFilter,
    limit: int,
    exclude: Sequence[str] = (),
) -> list[tuple[str, float]]:
    """The ids nearest to a unit vector (384,) among the feedback that passes the filter, with their cosines.

    Only vectors of the same encoder are compared. Reads in pages by id, so memory stays bounded.
    """
    best: list[tuple[float, str]] = []
    after = ""
    while True:
        rows = session.execute(
            select(Feedback.id, Analysis.embedding)
            .join(Analysis, Analysis.feedback_id == Feedback.id)
            .where(*conditions(project_id, wanted), Feedback.id > after)
            .where(Analysis.embedding.is_not(None), Analysis.encoder == encoder)
            .order_by(Feedback.id)
            .limit(_PAGE)
        ).all()
        if not rows:
            break
        after = rows[-1].id
        cosines = unpack([row.embedding for row in rows if row.embedding is not None]) @ query
        page = [
            (float(cosine), row.id)
            for cosine, row in zip(cosines, rows, strict=True)
            if row.id not in exclude
        ]
        best = sorted(best + page, reverse=True)[:limit]
    return [(feedback_id, cosine) for cosine, feedback_id in best]


def stored_vector(
    session: Session, project_id: str, feedback_id: str, *, encoder: str
) -> NDArray[np.float32] | None:
    """The vector (384,) of a stored feedback, None when there is none of this encoder."""
    packed = session.scalar(
        select(Analysis.embedding).where(
            Analysis.feedback_id == feedback_id,
            Analysis.project_id == project_id,
            Analysis.encoder == encoder,
        )
    )
    return None if packed is None else unpack([packed])[0]
