"""Identity over a new discovery: keep, split, merge, fade, and what people edited."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.themes.match import Old, Plan, claimable, match
from voice.themes.vectors import Vectors, normalise

AXES = np.eye(8, dtype=np.float32)


def items(start: int, stop: int) -> frozenset[str]:
    return frozenset(f"f{i}" for i in range(start, stop))


def plan_of(old: list[Old], clusters: list[frozenset[str]], centroids: Vectors | None = None) -> Plan:
    return match(old, clusters, AXES[4 : 4 + len(clusters)] if centroids is None else centroids)


def test_a_theme_that_mostly_stays_keeps_its_id() -> None:
    plan = plan_of([Old("a", items(0, 50), AXES[0])], [items(10, 70)])
    assert plan == Plan(kept={0: "a"})


def test_new_items_are_a_birth_and_a_missing_theme_fades() -> None:
    plan = plan_of([Old("a", items(0, 50), AXES[0])], [items(100, 130)])
    assert plan == Plan(born=[0], faded=["a"])


def test_the_biggest_part_of_a_split_keeps_the_id() -> None:
    plan = plan_of([Old("a", items(0, 100), AXES[0])], [items(0, 35), items(35, 100)])
    assert plan == Plan(kept={1: "a"}, split={0: "a"})


def test_the_theme_that_gave_more_survives_a_merge() -> None:
    old = [Old("small", items(0, 30), AXES[0]), Old("big", items(30, 100), AXES[1])]
    assert plan_of(old, [items(0, 100)]) == Plan(kept={0: "big"}, absorbed={"small": "big"})


def test_a_theme_swallowed_by_something_new_says_by_what() -> None:
    plan = plan_of([Old("a", items(0, 20), AXES[0])], [items(0, 400)])
    assert plan == Plan(born=[0], absorbed={"a": 0})


def test_a_theme_does_not_end_on_the_evidence_of_a_few_members() -> None:
    plan = plan_of([Old("a", items(0, 100), AXES[0])], [items(90, 300)])
    assert plan == Plan(born=[0], faded=["a"])


def test_members_that_no_cluster_took_do_not_weaken_the_match() -> None:
    plan = plan_of([Old("a", items(0, 200), AXES[0])], [items(180, 210)])
    assert plan == Plan(kept={0: "a"})


def test_a_theme_is_known_by_its_centroid_when_the_window_moved_on() -> None:
    old = [Old("a", items(0, 50), AXES[0]), Old("b", items(50, 99), AXES[1])]
    near = normalise(np.array([AXES[1] + 0.3 * AXES[5], AXES[0] + 1.5 * AXES[5]]))
    assert plan_of(old, [items(200, 220), items(220, 240)], near) == Plan(
        kept={0: "b"}, born=[1], faded=["a"]
    )


def test_a_pinned_theme_is_not_absorbed_and_keeps_its_members() -> None:
    old = [Old("ours", items(0, 30), AXES[0], pinned=True), Old("big", items(30, 100), AXES[1])]
    clusters = [items(0, 100)]
    plan = plan_of(old, clusters)
    assert plan == Plan(kept={0: "big"}, faded=["ours"])
    assert claimable(old, clusters, plan) == [items(30, 100)]


def test_a_pinned_theme_is_not_split() -> None:
    old = [Old("ours", items(0, 100), AXES[0], pinned=True)]
    clusters = [items(0, 60), items(60, 100)]
    plan = plan_of(old, clusters)
    assert plan == Plan(kept={0: "ours"})
    assert claimable(old, clusters, plan) == [items(0, 60), frozenset()]


def test_two_halves_that_people_split_stay_two() -> None:
    old = [
        Old("left", items(0, 40), AXES[0], pinned=True),
        Old("right", items(40, 100), AXES[1], pinned=True),
    ]
    clusters = [items(0, 120)]
    plan = plan_of(old, clusters)
    assert plan == Plan(kept={0: "right"}, faded=["left"])
    assert claimable(old, clusters, plan) == [items(40, 120)]


def test_nothing_meets_nothing() -> None:
    assert plan_of([], []) == Plan()
    assert plan_of([], [items(0, 9)]) == Plan(born=[0])
    assert plan_of([Old("a", items(0, 9), AXES[0])], []) == Plan(faded=["a"])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="centroids"):
        match([], [items(0, 9)], AXES[:0])
    twice = [Old("a", items(0, 9), AXES[0]), Old("a", items(9, 20), AXES[1])]
    with pytest.raises(ValueError, match="unique"):
        match(twice, [], AXES[:0])


@given(
    before=st.lists(st.integers(-1, 5), min_size=60, max_size=60),
    after=st.lists(st.integers(-1, 5), min_size=60, max_size=60),
    pinned=st.sets(st.integers(0, 5)),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=80, deadline=None)
def test_every_theme_and_cluster_has_one_fate(
    before: list[int], after: list[int], pinned: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    groups = [frozenset(f"f{i}" for i, c in enumerate(before) if c == k) for k in range(6)]
    old = [
        Old(f"t{k}", g, normalise(rng.normal(size=(1, 8)))[0], k in pinned) for k, g in enumerate(groups) if g
    ]
    clusters = [c for k in range(6) if (c := frozenset(f"f{i}" for i, x in enumerate(after) if x == k))]
    plan = match(old, clusters, normalise(rng.normal(size=(len(clusters), 8))))
    fates = [*plan.kept.values(), *plan.absorbed, *plan.faded]
    assert sorted(fates) == sorted(theme.id for theme in old)
    placed = [*plan.kept, *plan.born, *plan.split]
    assert len(placed) == len(set(placed))
    unplaced = set(range(len(clusters))) - set(placed)
    ours = frozenset().union(*(theme.members for theme in old if theme.pinned))
    assert all(len(clusters[c] & ours) * 2 >= len(clusters[c]) for c in unplaced)
    assert not set(plan.absorbed) & {theme.id for theme in old if theme.pinned}
    survivors = set(plan.kept.values())
    assert all(
        target in survivors or target in (*plan.born, *plan.split) for target in plan.absorbed.values()
    )
    assert set(plan.split.values()) <= survivors
    for index, members in enumerate(claimable(old, clusters, plan)):
        others = (theme for theme in old if theme.pinned and theme.id != plan.kept.get(index))
        assert not any(members & theme.members for theme in others)


@given(st.lists(st.integers(0, 4), min_size=30, max_size=80), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_same_clusters_in_another_order_keep_every_id(labels: list[int], random: Random) -> None:
    groups = [g for k in range(5) if (g := frozenset(f"f{i}" for i, c in enumerate(labels) if c == k))]
    old = [Old(f"t{k}", g, AXES[k]) for k, g in enumerate(groups)]
    order = list(range(len(groups)))
    random.shuffle(order)
    plan = match(old, [groups[i] for i in order], AXES[order])
    assert plan == Plan(kept={new: f"t{i}" for new, i in enumerate(order)})
