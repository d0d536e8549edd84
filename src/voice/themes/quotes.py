"""Quotes: a few verbatims that show what a theme is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voice.themes.vectors import Vectors, mean_directions

VERSION = "quotes-1"

SHORTEST, LONGEST = 4, 40
"""Words of a quote that says something and is still read."""
SAME = 0.95
"""Cosine from which a second quote adds nothing."""
CENTRAL_WEIGHT = 0.6
"""Weight of being central against being unlike the quotes already picked (Carbonell and Goldstein 1998)."""


def pick_quotes(
    vectors: Vectors,
    texts: Sequence[str],
    scores: NDArray[np.floating],
    times: NDArray[np.floating] | NDArray[np.integer],
    *,
    k: int = 4,
) -> list[int]:
    """Indices of at most k distinct texts: the most central, the most negative, the newest, then the most different.

    `vectors` (n, d) are unit rows, `scores` (n,) sentiments in -1..1, `times` (n,) seconds. Texts of 4 to 40 words are
    preferred; the most negative and the newest are sought among the more central half, so that a stray item
    does not speak for the theme. Fewer than k come back when there are fewer distinct texts. Empty texts never do.
    """
    if not (len(vectors) == len(texts) == len(scores) == len(times)):
        raise ValueError("vectors, texts, scores and times must have one length")
    lengths = np.array([len(text[:2000].split()) for text in texts], dtype=np.int64)
    fits = (lengths >= SHORTEST) & (lengths <= LONGEST)
    usable = fits if fits.sum() >= k else lengths > 0
    if k <= 0 or not usable.any():
        return []
    centroid = mean_directions(vectors, np.zeros(len(vectors), dtype=np.int64), 1)[0]
    central = (vectors @ centroid).astype(np.float64) + np.where(fits, 0.0, -1.0)
    half = usable & (central >= np.median(central[usable]))
    words = [_words(text) for text in texts]
    picked: list[int] = []
    for wanted in (
        np.where(usable, central, -np.inf),
        np.where(half, -scores, -np.inf),
        np.where(half, times, -np.inf),
    ):
        _take(picked, np.asarray(wanted, dtype=np.float64), vectors, words, k)
    while len(picked) < k:
        likeness = (vectors @ vectors[picked].T).max(axis=1)
        wanted = CENTRAL_WEIGHT * central - (1 - CENTRAL_WEIGHT) * likeness
        if not _take(picked, np.where(usable, wanted, -np.inf), vectors, words, k):
            break
    return picked


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text[:2000].casefold()))


def _take(
    picked: list[int], wanted: NDArray[np.float64], vectors: Vectors, words: Sequence[str], k: int
) -> bool:
    """Append the most wanted index that repeats no picked text; False when there is none."""
    if len(picked) >= k:
        return False
    taken = {words[i] for i in picked}
    near = np.zeros(len(vectors), dtype=np.bool_)
    for i in picked:
        near |= vectors @ vectors[i] >= SAME
    for i in np.argsort(-wanted, kind="stable"):
        if not np.isfinite(wanted[i]):
            return False
        if not near[i] and words[i] not in taken:
            picked.append(int(i))
            return True
    return False
