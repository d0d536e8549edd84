"""Maths on unit vectors that the theme algorithms share: neighbours, smoothing, reduction, centroids.

Products are done in blocks of rows, so memory grows with BLOCK x n and never with n x n.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""(n, d) float32, rows of length 1; d is 384 with the shipped encoder."""

BLOCK = 1024


def normalise(rows: NDArray[np.floating]) -> Vectors:
    """Rows of (n, d) scaled to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def neighbours(vectors: Vectors, k: int) -> NDArray[np.int64]:
    """The k rows nearest to each row by cosine, the row itself among them: (n, min(k, n)), exact, unordered."""
    n = len(vectors)
    k = min(k, n)
    out = np.empty((n, k), dtype=np.int64)
    for start in range(0, n, BLOCK):
        similarity = vectors[start : start + BLOCK] @ vectors.T
        out[start : start + BLOCK] = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    return out


def smooth(vectors: Vectors, nearest: NDArray[np.int64]) -> Vectors:
    """Each row replaced by the mean of its `nearest` rows, (n, k), normalised."""
    out = np.empty_like(vectors)
    for start in range(0, len(vectors), BLOCK):
        out[start : start + BLOCK] = vectors[nearest[start : start + BLOCK]].mean(axis=1)
    return normalise(out)


def reduce(vectors: Vectors, dimensions: int) -> NDArray[np.float64]:
    """Principal components, (n, min(dimensions, n, d)) float64, with the sign of every axis fixed."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, : min(dimensions, len(vectors))]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return np.asarray(centred @ axes, dtype=np.float64)


def mean_directions(vectors: Vectors, labels: NDArray[np.int64], k: int) -> Vectors:
    """(k, d) normalised mean of the rows of each label 0..k-1; rows labelled -1 are ignored."""
    sums = np.zeros((k, vectors.shape[1]), dtype=np.float64)
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    if len(order):
        totals = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64)
        sums[present[present >= 0]] = totals[present >= 0]
    return normalise(sums)


def nearest_of(vectors: Vectors, centroids: Vectors) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each row the index of the nearest centroid and the cosine to it; (k, d) centroids, k >= 1."""
    index = np.empty(len(vectors), dtype=np.int64)
    cosine = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), BLOCK):
        similarity = vectors[start : start + BLOCK] @ centroids.T
        best = similarity.argmax(axis=1)
        index[start : start + BLOCK] = best
        cosine[start : start + BLOCK] = similarity[np.arange(len(best)), best]
    return index, cosine
