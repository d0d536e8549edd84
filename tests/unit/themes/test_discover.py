"""Discovery on synthetic vectors: invariants, planted clusters, copies, mentions of a product's name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from voice.themes.discover import MIN_ITEMS, MIN_THEME, collapse, discover, min_cluster_size, same_words
from voice.themes.vectors import Vectors, neighbours, normalise, reduce

DIMENSIONS = 64
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"]


def planted(
    sizes: list[int], *, noise: int = 0, spread: float = 1.0, seed: int = 0
) -> tuple[Vectors, NDArray[np.int64]]:
    """Groups about random directions with a domain direction in common, and noise about that direction alone."""
    rng = np.random.default_rng(seed)
    domain = normalise(rng.normal(size=(1, DIMENSIONS)))
    rows, truth = [], []
    for label, size in enumerate(sizes):
        direction = normalise(rng.normal(size=(1, DIMENSIONS)))
        scatter = rng.normal(size=(size, DIMENSIONS)) / DIMENSIONS**0.5
        rows.append(0.6 * domain + direction + spread * scatter)
        truth += [label] * size
    rows.append(0.6 * domain + 1.6 * rng.normal(size=(noise, DIMENSIONS)) / DIMENSIONS**0.5)
    truth += [-1] * noise
    return normalise(np.vstack(rows)), np.array(truth)


def same_partition(left: NDArray[np.int64], right: NDArray[np.int64]) -> bool:
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    return len(pairs) == len(set(left.tolist())) == len(set(right.tolist())) and all(
        (a < 0) == (b < 0) for a, b in pairs
    )


@given(
    sizes=st.lists(st.integers(0, 30), max_size=5),
    noise=st.integers(0, 40),
    spread=st.floats(0.2, 3.0),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_labels_are_whole_numbered_by_size_repeatable_and_blind_to_order(
    sizes: list[int], noise: int, spread: float, seed: int
) -> None:
    vectors, _ = planted(sizes, noise=noise, spread=spread, seed=seed)
    labels = discover(vectors).labels
    assert labels.shape == (len(vectors),)
    assert labels.dtype == np.int64
    found = np.bincount(labels[labels >= 0])
    assert (found >= MIN_THEME).all()
    assert (np.diff(found) <= 0).all()
    assert (labels == discover(vectors).labels).all()
    shuffled = np.random.default_rng(seed).permutation(len(vectors))
    assert same_partition(labels[shuffled], discover(vectors[shuffled]).labels)


def test_planted_groups_are_found_and_noise_is_left_out() -> None:
    vectors, truth = planted([60, 40, 30, 20, 12, 9], noise=40, seed=3)
    labels = discover(vectors).labels
    planted_only = truth >= 0
    assert labels.max() + 1 == 6
    assert adjusted_rand_score(truth[planted_only], labels[planted_only]) > 0.95
    assert (labels[~planted_only] >= 0).mean() < 0.35


def test_one_small_group_in_a_pool_of_noise_is_found() -> None:
    vectors, truth = planted([10], noise=30, seed=1)
    labels = discover(vectors).labels
    found = set(labels[truth == 0].tolist())
    assert len(found) == 1
    assert -1 not in found
    assert (labels[truth == -1] >= 0).sum() <= 5


@pytest.mark.parametrize("n", [0, 1, MIN_ITEMS - 1])
def test_a_handful_of_items_holds_no_theme(n: int) -> None:
    vectors, _ = planted([n], spread=0.3)
    assert (discover(vectors[:n]).labels == -1).all()


def test_a_storm_of_copies_is_one_item_and_makes_no_theme_by_itself() -> None:
    vectors, _ = planted([25, 25], noise=20, seed=5)
    rng = np.random.default_rng(0)
    away = normalise(rng.normal(size=(1, DIMENSIONS)))
    storm = normalise(away + 0.1 * rng.normal(size=(300, DIMENSIONS)) / DIMENSIONS**0.5)
    labels = discover(np.vstack([vectors, storm])).labels
    assert (labels[len(vectors) :] == -1).all()
    assert same_partition(labels[: len(vectors)], discover(vectors).labels)


def test_copies_by_wording_are_one_item_although_their_vectors_differ() -> None:
    vectors, _ = planted([25, 25, 40], seed=6)
    texts = [f"{WORDS[i % 10]} {WORDS[i // 10]} says something" for i in range(50)]
    petition = [f"Bring back the OLD view!!! [name] {i}" for i in range(40)]
    labels = discover(vectors, texts=texts + petition).labels
    assert (labels[50:] == -1).all()
    assert labels[:50].max() == 1
    assert discover(vectors).labels.max() == 2


def test_copies_of_a_member_get_its_label() -> None:
    vectors, _ = planted([25, 25], seed=7)
    labels = discover(np.vstack([vectors, vectors[:5], vectors[:5]])).labels
    assert (labels[50:55] == labels[:5]).all()
    assert (labels[55:] == labels[:5]).all()


def test_texts_that_share_only_the_name_of_the_product_are_no_theme() -> None:
    vectors, _ = planted([30, 30, 30], seed=8)
    rng = np.random.default_rng(8)
    subjects = [["refund", "twice", "card"], ["calendar", "sync", "hours"]]
    texts = [
        " ".join([*rng.permutation(subjects[i // 30]), "acme" if i % 5 == 0 else "", f"w{i}xyz"])
        for i in range(60)
    ]
    texts += [f"acme {WORDS[i % 10]}{i} {WORDS[(i * 7) % 10]}{i}q" for i in range(30)]
    labels = discover(vectors, texts=texts).labels
    assert labels.max() == 1
    assert (labels[60:] == -1).mean() > 0.8
    named = [text.replace("acme", "invoice") if i >= 60 else text for i, text in enumerate(texts)]
    assert discover(vectors, texts=named).labels.max() == 2


def test_rows_without_words_are_left_out_and_change_nothing() -> None:
    vectors, _ = planted([25, 25], noise=10, seed=9)
    zeros = np.zeros((40, DIMENSIONS), dtype=np.float32)
    labels = discover(np.vstack([zeros, vectors])).labels
    assert (labels[:40] == -1).all()
    assert (labels[40:] == discover(vectors).labels).all()


def test_more_items_than_the_sample_keep_their_themes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice.themes.discover.CORES", 150)
    monkeypatch.setattr("voice.themes.discover.WINDOW", 250)
    vectors, truth = planted([150, 120, 100], noise=30, seed=10)
    labels = discover(vectors, seed=4).labels
    assert adjusted_rand_score(truth[truth >= 0], labels[truth >= 0]) > 0.9
    assert (labels == discover(vectors, seed=4).labels).all()


def test_bad_input_is_refused() -> None:
    vectors, _ = planted([12])
    with pytest.raises(ValueError, match="texts"):
        discover(vectors, texts=["one"])
    vectors[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        discover(vectors)


@given(st.integers(2, 60), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_collapse_points_every_row_at_a_representative_that_says_the_same(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = normalise(rng.normal(size=(n, 8)))[rng.integers(0, max(1, n // 3), n)]
    noisy = normalise(rows + 0.02 * rng.normal(size=rows.shape))
    first = collapse(noisy, None)
    assert (first[first] == first).all()
    assert (first <= np.arange(n)).all()
    assert (np.einsum("ij,ij->i", noisy, noisy[first]) >= 0.97 - 1e-5).all()
    leaders = np.unique(first)
    among = noisy[leaders] @ noisy[leaders].T
    assert (among[np.triu_indices(len(leaders), 1)] < 0.97 + 1e-5).all()


def test_same_words_ignores_case_digits_punctuation_and_placeholders() -> None:
    assert same_words("App v5.1 CRASHES, [email]!") == same_words("app v6 crashes")
    assert same_words("[name] 123 !!!") == ""
    assert same_words("a\x00b") == "a b"


def test_smallest_theme_grows_slowly() -> None:
    assert [min_cluster_size(n) for n in (50, 900, 5000)] == [6, 6, 14]


def test_neighbours_are_the_nearest_rows_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voice.themes.vectors.BLOCK", 7)
    vectors = normalise(np.random.default_rng(0).normal(size=(30, 5)))
    found = neighbours(vectors, 4)
    exact = np.argsort(-(vectors @ vectors.T), axis=1)[:, :4]
    assert [set(row) for row in found.tolist()] == [set(row) for row in exact.tolist()]
    assert neighbours(vectors[:2], 4).shape == (2, 2)


def test_reduced_points_keep_their_distances_when_enough_axes_are_kept() -> None:
    vectors = normalise(np.random.default_rng(1).normal(size=(20, 6)))
    points = reduce(vectors, 6)
    full = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    kept = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert np.allclose(full, kept, atol=1e-5)
    assert reduce(vectors, 3).shape == (20, 3)
