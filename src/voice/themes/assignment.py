"""Assign on arrival: the themes of a project as vectors, and which of them takes a new verbatim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.analysis.vectors import unpack
from voice.db.tables import Theme
from voice.themes.assign import assign


@dataclass(frozen=True, slots=True)
class KnownThemes:
    """Live themes of one project: ids, centroids (k, d), thresholds (k,)."""

    ids: tuple[str, ...]
    centroids: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    def take(self, vectors: NDArray[np.float32]) -> list[tuple[str | None, float | None]]:
        """For each row the theme that takes it and the cosine to it; (None, None) where none does."""
        if not self.ids or not len(vectors):
            return [(None, None)] * len(vectors)
        index, cosine = assign(vectors, self.centroids, self.thresholds)
        return [
            (self.ids[i], float(c)) if i >= 0 else (None, None) for i, c in zip(index, cosine, strict=True)
        ]


def known_themes(session: Session, project_id: str, *, encoder: str) -> KnownThemes:
    """The live themes of a project that were made with this encoder."""
    rows: Sequence[Theme] = session.scalars(
        select(Theme)
        .where(Theme.project_id == project_id, Theme.merged_into.is_(None), Theme.encoder == encoder)
        .where(Theme.centroid.is_not(None))
        .order_by(Theme.id)
    ).all()
    return KnownThemes(
        tuple(theme.id for theme in rows),
        unpack([theme.centroid for theme in rows if theme.centroid is not None]),
        np.array([theme.threshold for theme in rows], dtype=np.float32),
    )
