"""Match: decide which theme each cluster of a new discovery continues, so that a theme keeps its id for life."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voice.themes.vectors import Vectors

VERSION = "match-1"

COSINE_WEIGHT = 0.25
MIN_JACCARD = 0.15
MIN_COSINE = 0.90
"""Centroids this near continue a theme even when the window has moved on and shares no member with it."""
MOST = 0.5
"""Share of members that makes one group the origin, or the destination, of another."""
MIN_MOVED, MIN_MOVED_SHARE = 3, 0.25
"""Members, and share of all members, that must be seen in one cluster before a theme ends in it."""


@dataclass(frozen=True, slots=True)
class Old:
    """A living theme and its members in the window that was clustered, or all of them.

    `pinned`: people edited it, so its members are nobody else's and it never ends.
    """

    id: str
    members: frozenset[str]
    centroid: NDArray[np.float32]
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to every cluster and every old theme.

    A cluster is in one of `kept` (cluster -> old id), `born` or `split` (cluster -> old id it came from), or in none
    when it only repeats members of a pinned theme. An old id is in one of `kept`, `absorbed` (old id -> the old id, or
    the index of the new cluster, that took most of its members) or `faded` (it lives on and gets no new centroid).
    """

    kept: dict[int, str] = field(default_factory=dict)
    born: list[int] = field(default_factory=list)
    split: dict[int, str] = field(default_factory=dict)
    absorbed: dict[str, int | str] = field(default_factory=dict)
    faded: list[str] = field(default_factory=list)


def match(old: Sequence[Old], clusters: Sequence[frozenset[str]], centroids: Vectors) -> Plan:
    """Pair living themes with the clusters of a new discovery, one to one.

    Hungarian assignment (Kuhn 1955) on Jaccard overlap + .25 cosine of centroids, accepted from a Jaccard of .15 or a
    cosine of .9. Members that no cluster took say nothing about continuity and are left out of the overlap. After a
    split the best matching part keeps the id; after a merge the theme that gave more keeps it. `centroids` is (k, d),
    one per cluster. Raises ValueError when ids repeat or clusters and centroids differ in length.
    """
    if len(clusters) != len(centroids):
        raise ValueError(f"{len(centroids)} centroids for {len(clusters)} clusters")
    if len({theme.id for theme in old}) != len(old):
        raise ValueError("theme ids must be unique")
    shared = _shared(old, clusters)
    plan = Plan()
    kept = _pairs(old, clusters, centroids, shared)
    plan.kept.update({cluster: old[theme].id for cluster, theme in sorted(kept.items())})
    _new_clusters(plan, old, clusters, shared)
    _endings(plan, old, shared)
    return plan


def claimable(old: Sequence[Old], clusters: Sequence[frozenset[str]], plan: Plan) -> list[frozenset[str]]:
    """The members each cluster may take when `plan` is applied: all but those of other pinned themes.

    Where that is less than the cluster, its centroid must be made again from what is left.
    """
    pinned = [theme for theme in old if theme.pinned]
    return [
        members.difference(*(theme.members for theme in pinned if theme.id != plan.kept.get(index)))
        for index, members in enumerate(clusters)
    ]


def _shared(old: Sequence[Old], clusters: Sequence[frozenset[str]]) -> NDArray[np.int64]:
    """(themes, clusters) counts of common members."""
    cluster_of: dict[str, list[int]] = {}
    for index, members in enumerate(clusters):
        for member in members:
            cluster_of.setdefault(member, []).append(index)
    counts = np.zeros((len(old), len(clusters)), dtype=np.int64)
    for row, theme in enumerate(old):
        for index, n in Counter(c for m in theme.members for c in cluster_of.get(m, ())).items():
            counts[row, index] = n
    return counts


def _pairs(
    old: Sequence[Old], clusters: Sequence[frozenset[str]], centroids: Vectors, shared: NDArray[np.int64]
) -> dict[int, int]:
    """cluster -> row of `old`, for accepted pairs."""
    from scipy.optimize import linear_sum_assignment

    if not old or not clusters:
        return {}
    sizes = np.array([len(members) for members in clusters])
    union = shared.sum(axis=1, keepdims=True) + sizes - shared
    jaccard = shared / np.maximum(union, 1)
    cosine = np.stack([theme.centroid for theme in old]) @ centroids.T
    accepted = (jaccard >= MIN_JACCARD) | (cosine >= MIN_COSINE)
    worth = np.where(accepted, jaccard + COSINE_WEIGHT * np.maximum(cosine, 0), 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {int(c): int(r) for r, c in zip(rows, columns, strict=True) if accepted[r, c]}


def _new_clusters(
    plan: Plan, old: Sequence[Old], clusters: Sequence[frozenset[str]], shared: NDArray[np.int64]
) -> None:
    pinned = [row for row, theme in enumerate(old) if theme.pinned]
    alive = set(plan.kept.values())
    for index, members in enumerate(clusters):
        if index in plan.kept:
            continue
        if shared[pinned, index].sum() >= MOST * len(members):
            continue
        parent = int(shared[:, index].argmax()) if old else -1
        came = parent >= 0 and shared[parent, index] >= MOST * len(members)
        if came and old[parent].id in alive:
            plan.split[index] = old[parent].id
        else:
            plan.born.append(index)


def _endings(plan: Plan, old: Sequence[Old], shared: NDArray[np.int64]) -> None:
    alive = set(plan.kept.values())
    settled = plan.kept.keys() | plan.split.keys() | set(plan.born)
    for row, theme in enumerate(old):
        if theme.id in alive:
            continue
        target = int(shared[row].argmax()) if shared.shape[1] else -1
        needed = max(MIN_MOVED, MOST * shared[row].sum(), MIN_MOVED_SHARE * len(theme.members))
        if theme.pinned or target not in settled or shared[row, target] < needed:
            plan.faded.append(theme.id)
        else:
            plan.absorbed[theme.id] = plan.kept.get(target, target)
