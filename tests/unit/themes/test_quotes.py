"""Quotes: roles, distinct texts, length, few texts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.themes.quotes import pick_quotes
from voice.themes.vectors import Vectors, normalise


def members(n: int, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    return normalise(np.array([2.0, *[0.0] * 15]) + rng.normal(size=(n, 16)) / 4)


def texts_of(n: int) -> list[str]:
    return [
        f"text number {'abcdefghijklmnopqrstuvwxyz'[i % 26] * (1 + i // 26)} about the theme"
        for i in range(n)
    ]


def test_the_most_central_the_most_negative_and_the_newest_are_among_them() -> None:
    vectors = members(30)
    central = vectors @ normalise(vectors.mean(axis=0, keepdims=True))[0]
    order = np.argsort(-central)
    scores, times = np.zeros(30), np.zeros(30)
    scores[order[3]], times[order[5]] = -0.9, 99.0
    scores[order[-1]], times[order[-1]] = -1.0, 100.0
    picked = pick_quotes(vectors, texts_of(30), scores, times)
    assert picked[:3] == [order[0], order[3], order[5]]
    assert len(picked) == 4


def test_a_quote_is_of_readable_length_when_there_are_enough() -> None:
    vectors = np.vstack([members(10), normalise(np.array([[1.0, *[0.0] * 15]] * 2))])
    texts = [*texts_of(10), "short", "long " * 400]
    assert not set(pick_quotes(vectors, texts, np.zeros(12), np.arange(12.0))) & {10, 11}
    assert pick_quotes(vectors[10:11], ["short"], np.zeros(1), np.zeros(1)) == [0]


def test_copies_are_quoted_once() -> None:
    vectors = np.vstack([members(5), np.repeat(members(1, seed=9), 20, axis=0)])
    texts = [*texts_of(5), *["It crashes, every single time!"] * 10, *["it crashes every single time"] * 10]
    picked = pick_quotes(vectors, texts, np.zeros(25), np.arange(25.0))
    assert sum(i >= 5 for i in picked) == 1
    assert len(picked) == 4


@given(st.integers(0, 30), st.integers(0, 6), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_picks_are_distinct_and_at_most_k(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = [" ".join(["word"] * int(length)) for length in rng.integers(0, 60, n)]
    picked = pick_quotes(members(n, seed), texts, rng.uniform(-1, 1, n), rng.uniform(0, 9, n), k=k)
    assert len(picked) == len(set(picked)) <= k
    assert len({texts[i] for i in picked}) == len(picked)
    assert all(texts[i] for i in picked)
    assert bool(picked) == (k > 0 and any(texts))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one length"):
        pick_quotes(members(2), ["one"], np.zeros(2), np.zeros(2))
