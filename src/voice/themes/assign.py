"""Assign: put a new item into a known theme, or into none. The cost does not grow with history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voice.themes.vectors import BLOCK, Vectors

VERSION = "assign-1"

LOOSEST, TIGHTEST = 0.45, 0.75
"""Bounds of a theme's threshold, in cosine."""
MISSED = 0.05
"""Share of a theme's own members that its threshold may turn away."""


def theme_threshold(cosines: NDArray[np.floating]) -> float:
    """The cosine to its centroid that an item needs to join a theme, from the cosines of its members.

    The 5 % quantile clipped to [.45, .75], so a tight theme asks for more than a loose one; .45 with no members.
    """
    if len(cosines) == 0:
        return LOOSEST
    return float(np.clip(np.quantile(cosines, MISSED), LOOSEST, TIGHTEST))


def assign(
    vectors: Vectors, centroids: Vectors, thresholds: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of (n, d) unit rows the theme it joins and the cosine to it.

    Among the (k, d) centroids whose threshold, (k,), the row reaches, the nearest one; ties go to the lower index.
    Where none is reached, including k = 0 and a row that is not finite, the index is -1 and the cosine is that of the
    nearest centroid (0 when there is none). Raises ValueError when centroids and thresholds differ in length.
    """
    if len(centroids) != len(thresholds):
        raise ValueError(f"{len(thresholds)} thresholds for {len(centroids)} centroids")
    index = np.full(len(vectors), -1, dtype=np.int64)
    cosine = np.zeros(len(vectors), dtype=np.float32)
    if len(centroids) == 0:
        return index, cosine
    for start in range(0, len(vectors), BLOCK):
        similarity = np.nan_to_num(
            vectors[start : start + BLOCK] @ centroids.T, nan=-1.0, posinf=-1.0, neginf=-1.0
        )
        rows = np.arange(len(similarity))
        reached = np.where(similarity >= thresholds, similarity, -np.inf)
        best = reached.argmax(axis=1)
        taken = np.isfinite(reached[rows, best])
        index[start : start + BLOCK] = np.where(taken, best, -1)
        cosine[start : start + BLOCK] = np.where(taken, similarity[rows, best], similarity.max(axis=1))
    return index, cosine
