"""Discover: propose groups of feedback that say the same thing, from embeddings alone.

The recipe and the comparison with other methods are in docs/develop/themes.md. In short: near-duplicates count
once; every vector is replaced twice by the mean of its neighbours, which pulls a theme together and leaves gaps between
themes; HDBSCAN (Campello, Moulavi, Sander 2013; McInnes, Healy, Astels 2017) finds the dense cores of a bounded
sample in 32 dimensions; the rest joins the nearest core or stays unassigned.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voice.themes.vectors import (
    BLOCK,
    Vectors,
    mean_directions,
    nearest_of,
    neighbours,
    normalise,
    reduce,
    smooth,
)
from voice.themes.words import is_content, segments, stem

VERSION = "discover-1"

MIN_ITEMS = 12
"""Fewer distinct texts than this hold no theme worth a name."""
MIN_THEME = 6
SAME = 0.97
"""Cosine from which two texts count as one voice repeated."""
WINDOW = 20_000
"""Most distinct texts in the neighbour graph; its cost is quadratic."""
CORES = 5_000
"""Most points given to HDBSCAN."""
DIMENSIONS = 32
MIN_SAMPLES = 5
ABSORB = 0.50
"""Cosine of a smoothed vector to a core from which it joins."""
MERGE = 0.75
"""Cosine of two smoothed, centred cores from which they are one theme."""
MERGE_PLAIN = 0.85
"""The same for the cores as they were: catches one theme cut in two because it is most of the data."""
REFINEMENTS = 3
MENTION_SHARED, MENTION_ALONE, MENTION_COMMON = 0.5, 0.08, 0.05
"""A core is a mention when half of its texts, more than elsewhere, have a word that 5 % of the others have too, and no
other word is 8 points, and one text, more frequent in it than elsewhere."""
REJECT = 0.45
"""Cosine of a vector to its theme below which it is left unassigned."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """labels: (n,) int64, 0..k-1 by falling size, -1 where no theme takes the item."""

    labels: NDArray[np.int64]


def discover(vectors: Vectors, *, texts: Sequence[str] | None = None, seed: int = 0) -> Discovery:
    """Group the rows of (n, d) unit vectors into themes.

    `texts`, one per row, lets repeated wording be recognised beyond the vectors: texts that differ only in case,
    digits, punctuation or placeholders, and rows with cosine >= .97, count as one item for density and get one label,
    so a storm of copies makes no theme by itself. The result is a function of the rows and `seed` alone: the order of
    the rows changes nothing but the order of the labels. Zero rows, which the encoder gives to texts without words, are left unassigned, and so is
    everything when fewer than 12 distinct items remain.

    Raises ValueError when `texts` and `vectors` differ in length or a vector is not finite.
    """
    if texts is not None and len(texts) != len(vectors):
        raise ValueError(f"{len(texts)} texts for {len(vectors)} vectors")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite")
    unit = normalise(vectors)
    order = np.lexsort(unit.T[::-1])
    order = order[unit[order].any(axis=1)]
    keys = None if texts is None else [same_words(texts[i]) for i in order]
    representative = collapse(unit[order], keys)
    distinct = np.unique(representative)
    words = None if texts is None else [content_stems(texts[i]) for i in order[distinct]]
    labels_of_distinct = _cluster(unit[order][distinct], words, np.random.default_rng(seed))
    labels_in_order = labels_of_distinct[np.searchsorted(distinct, representative)]
    labels = np.full(len(unit), -1, dtype=np.int64)
    labels[order] = labels_in_order
    return Discovery(_by_size(labels))


def same_words(text: str) -> str:
    """What is left of a text when case, digits, punctuation and [placeholders] are taken out."""
    folded = unicodedata.normalize("NFKC", text[:10_000]).casefold()
    return " ".join(re.findall(r"[^\W\d_]+", re.sub(r"\[\w{1,32}\]", " ", folded)))


def collapse(vectors: Vectors, keys: Sequence[str] | None) -> NDArray[np.int64]:
    """For each row the index of the first row that says the same: an equal non-empty key, or cosine >= .97."""
    n = len(vectors)
    first = np.arange(n, dtype=np.int64)
    if keys is not None:
        seen: dict[str, int] = {}
        for i, key in enumerate(keys):
            first[i] = seen.setdefault(key, i) if key else i
    leaders = np.empty(n, dtype=np.int64)
    count = 0
    candidates = np.flatnonzero(first == np.arange(n))
    for start in range(0, len(candidates), BLOCK):
        block = candidates[start : start + BLOCK]
        earlier = leaders[:count]
        if count:
            index, cosine = nearest_of(vectors[block], vectors[earlier])
            near = cosine >= SAME
            first[block[near]] = earlier[index[near]]
            block = block[~near]
        inside = vectors[block] @ vectors[block].T >= SAME
        for row, i in enumerate(block):
            if first[i] == i:
                later = block[row + 1 :][inside[row, row + 1 :]]
                first[later[first[later] == later]] = i
                leaders[count] = i
                count += 1
    return first[first]


def content_stems(text: str) -> frozenset[str]:
    """The stems of the words that say something about a topic."""
    folded = (word.casefold() for run in segments(text) for word in run)
    return frozenset(stem(word) for word in folded if is_content(word))


def min_cluster_size(n: int) -> int:
    """Distinct items a theme needs among n: 6 up to about a thousand, then growing with the square root."""
    return max(MIN_THEME, round(math.sqrt(n) / 5))


def neighbour_count(n: int) -> int:
    """Neighbours to smooth over: 5 in a small set, so that a small theme is not blurred away, 15 from 900 on."""
    return min(max(round(math.sqrt(n) / 2), 5), 15)


def _cluster(
    vectors: Vectors, words: Sequence[frozenset[str]] | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    n = len(vectors)
    if n < MIN_ITEMS:
        return np.full(n, -1, dtype=np.int64)
    window = _sample(n, WINDOW, rng)
    inside = vectors[window]
    centred = normalise(inside - inside.mean(axis=0, dtype=np.float64))
    nearest = neighbours(centred, neighbour_count(len(inside)))
    once = smooth(centred, nearest)
    twice = smooth(once, neighbours(once, neighbour_count(len(inside))))
    sample = _sample(len(window), CORES, rng)
    smallest = min_cluster_size(len(sample))
    cores = _merge(twice[sample], inside[sample], _cores(twice[sample], smallest))
    if words is not None:
        cores = _without_mentions(cores, [words[i] for i in window[sample]])
    if cores.max() < 0:
        return np.full(n, -1, dtype=np.int64)
    centroids = mean_directions(twice[sample], cores, int(cores.max()) + 1)
    labels = _join(twice, centroids)
    for _ in range(REFINEMENTS):
        labels = _join(once, mean_directions(once, labels, len(centroids)))
    return _settle(vectors, window, labels, smallest)


def _sample(n: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.sort(rng.choice(n, most, replace=False)).astype(np.int64)


def _cores(smoothed: Vectors, smallest: int) -> NDArray[np.int64]:
    """HDBSCAN labels of the smoothed rows; when nothing splits off, one core if the whole set has one."""
    from hdbscan import HDBSCAN

    points = reduce(smoothed, DIMENSIONS)
    labels = np.full(len(points), -1, dtype=np.int64)
    for single in (False, True):
        model = HDBSCAN(
            min_cluster_size=smallest,
            min_samples=MIN_SAMPLES,
            approx_min_span_tree=False,
            core_dist_n_jobs=1,
            cluster_selection_method="leaf",
            allow_single_cluster=single,
        )
        labels = np.asarray(model.fit_predict(points), dtype=np.int64)
        if labels.max() >= 0:
            break
    return labels


def _merge(smoothed: Vectors, vectors: Vectors, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the two nearest cores until no pair is as near as MERGE, smoothed, or MERGE_PLAIN, as they were."""
    labels = labels.copy()
    while labels.max() > 0:
        k = int(labels.max()) + 1
        centroids, plain = mean_directions(smoothed, labels, k), mean_directions(vectors, labels, k)
        nearness = np.maximum(centroids @ centroids.T / MERGE, plain @ plain.T / MERGE_PLAIN)
        nearness = np.triu(nearness, 1)
        left, right = np.unravel_index(int(nearness.argmax()), nearness.shape)
        if nearness[left, right] < 1:
            break
        labels[labels == right] = left
        labels[labels > right] -= 1
    return labels


def _without_mentions(labels: NDArray[np.int64], words: Sequence[frozenset[str]]) -> NDArray[np.int64]:
    """Labels without the cores whose texts share one word only, and one that is common outside them too.

    That is a mention, usually of the product's name: its texts belong to what they say about the product.
    """
    everywhere = Counter(word for found in words for word in found)
    kept = labels.copy()
    for core in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == core)
        size, outside = len(members), max(len(words) - len(members), 1)
        here = Counter(word for i in members.tolist() for word in words[i])
        common = {word: (everywhere[word] - n) / outside for word, n in here.items()}
        excess = sorted(((n / size - common[word], word) for word, n in here.items()), reverse=True)
        if len(excess) < 2:
            continue
        (most, word), (second, _) = excess[:2]
        if most >= MENTION_SHARED and second < MENTION_ALONE + 1 / size and common[word] >= MENTION_COMMON:
            kept[members] = -1
    present, renumbered = np.unique(kept, return_inverse=True)
    return np.asarray(renumbered - (1 if present[0] < 0 else 0), dtype=np.int64)


def _join(smoothed: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    index, cosine = nearest_of(smoothed, centroids)
    return np.where(cosine >= ABSORB, index, -1)


def _settle(
    vectors: Vectors, window: NDArray[np.int64], labels: NDArray[np.int64], smallest: int
) -> NDArray[np.int64]:
    """Labels for all rows: outside the window the nearest theme; far items and themes left too small let go."""
    centroids = mean_directions(vectors[window], labels, int(labels.max()) + 1)
    settled, _ = nearest_of(vectors, centroids)
    settled[window] = labels
    settled[_cosine_without_itself(vectors, settled) < REJECT] = -1
    sizes = np.bincount(settled[settled >= 0], minlength=len(centroids))
    settled[(settled >= 0) & (sizes[settled] < smallest)] = -1
    return settled


def _cosine_without_itself(vectors: Vectors, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosine of each row to the mean of the other rows of its label, -1 where there is none.

    With itself in the mean, each of six unrelated rows would be at .4 from it.
    """
    cosine = np.full(len(vectors), -1.0)
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        rows = vectors[members].astype(np.float64)
        others = rows.sum(axis=0) - rows
        lengths = np.linalg.norm(others, axis=1)
        cosine[members] = np.einsum("ij,ij->i", rows, others) / np.where(lengths > 0, lengths, 1.0)
    return cosine


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups numbered 0..k-1 by falling size."""
    present, sizes = np.unique(labels[labels >= 0], return_counts=True)
    renumbered = np.full(len(labels), -1, dtype=np.int64)
    for new, old in enumerate(present[np.argsort(-sizes, kind="stable")]):
        renumbered[labels == old] = new
    return renumbered
