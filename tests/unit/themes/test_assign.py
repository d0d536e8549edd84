"""Assignment to known themes: thresholds, ties, nothing to assign to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.themes.assign import assign, theme_threshold
from voice.themes.vectors import normalise


def test_threshold_is_the_low_quantile_within_bounds() -> None:
    assert theme_threshold(np.linspace(0.0, 0.2, 50)) == 0.45
    assert theme_threshold(np.full(50, 0.95)) == 0.75
    assert theme_threshold(np.linspace(0.5, 0.7, 101)) == pytest.approx(0.51)
    assert theme_threshold(np.array([])) == 0.45


@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_each_row_joins_the_nearest_theme_that_takes_it(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, centroids = normalise(rng.normal(size=(n, 6))), normalise(rng.normal(size=(k, 6)))
    thresholds = rng.uniform(0.2, 0.9, k)
    index, cosine = assign(vectors, centroids, thresholds)
    assert index.shape == cosine.shape == (n,)
    for row in range(n):
        similarity = centroids @ vectors[row]
        open_to = [c for c in range(k) if similarity[c] >= thresholds[c]]
        expected = max(open_to, key=lambda c: similarity[c]) if open_to else -1
        assert index[row] == expected
        assert cosine[row] == pytest.approx(similarity[expected] if open_to else similarity.max(), abs=1e-6)


def test_a_tight_theme_that_is_nearer_does_not_hide_a_loose_one() -> None:
    item = normalise(np.array([[1.0, 1.0, 0.1]]))
    centroids = normalise(np.array([[1.0, 0.9, 0.0], [1.0, 0.5, 0.0]]))
    index, _ = assign(item, centroids, np.array([0.9999, 0.5]))
    assert index.tolist() == [1]


def test_ties_go_to_the_lower_index() -> None:
    centroids = normalise(np.ones((3, 4)))
    assert assign(centroids[:1], centroids, np.full(3, 0.5))[0].tolist() == [0]


def test_no_theme_no_words_or_a_broken_vector_leaves_an_item_unassigned() -> None:
    vectors = np.array([[1, 0], [0, 0], [np.nan, 0]], dtype=np.float32)
    index, cosine = assign(vectors, np.zeros((0, 2), dtype=np.float32), np.zeros(0))
    assert index.tolist() == [-1, -1, -1]
    assert cosine.tolist() == [0, 0, 0]
    index, _ = assign(vectors, np.array([[1, 0]], dtype=np.float32), np.array([0.45]))
    assert index.tolist() == [0, -1, -1]


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="thresholds"):
        assign(np.zeros((1, 2), dtype=np.float32), np.zeros((2, 2), dtype=np.float32), np.zeros(1))
