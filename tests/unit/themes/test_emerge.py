"""Emergence: the false-alarm level on simulated nulls, power, volume, loud authors, and the pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from voice.themes.emerge import (
    MAX_RATIO,
    Counts,
    Emergence,
    Verdict,
    _at_least,
    benjamini_hochberg,
    dispersion,
    emergence,
    emerging,
)

WEEK = np.array([1, 1.1, 1, 1, 0.9, 0.5, 0.5])
BASELINE, RECENT, THEMES = 14, 2, 25


def stream(
    rng: np.random.Generator, *, scale: float, variation: float, rise: float = 1.0
) -> NDArray[np.int64]:
    """(themes, days) counts: unequal themes, a weekday cycle, gamma noise per theme and day, one common rise."""
    days = BASELINE + RECENT
    rates = rng.lognormal(np.log(scale), 1.0, THEMES)[:, None] * np.resize(WEEK, days)
    rates[:, BASELINE:] *= rise
    return np.asarray(
        rng.poisson(rates * rng.gamma(1 / variation, variation, (THEMES, days))), dtype=np.int64
    )


def judge(counts: NDArray[np.int64]) -> list[Verdict]:
    recent, baseline = counts[:, BASELINE:].sum(axis=1), counts[:, :BASELINE].sum(axis=1)
    return emerging(
        [Counts(int(r), int(b), int(r), int(r)) for r, b in zip(recent, baseline, strict=True)],
        recent_days=RECENT,
        baseline_days=BASELINE,
        total_recent=int(recent.sum()),
        total_baseline=int(baseline.sum()),
        dispersion=dispersion(counts[:, :BASELINE]),
    )


@pytest.mark.parametrize("scale", [0.5, 4.0])
@pytest.mark.parametrize(("variation", "rise"), [(0.15, 1.0), (0.15, 3.0), (0.15, 0.3), (0.4, 1.0)])
def test_a_project_where_nothing_emerges_raises_an_alarm_in_at_most_one_test_of_twenty(
    scale: float, variation: float, rise: float
) -> None:
    """60 projects of 25 themes each; 60 x .05 = 3 expected at most, 8 or more has a chance of 1 % at the level."""
    rng = np.random.default_rng(11)
    runs = [judge(stream(rng, scale=scale, variation=variation, rise=rise)) for _ in range(60)]
    assert sum(any(v.emerging for v in verdicts) for verdicts in runs) < 8
    p = np.array([v.evidence.p for verdicts in runs for v in verdicts if v.evidence is not None])
    assert (p < 0.05).mean() < 0.06
    assert (p < 0.005).mean() < 0.01


def test_a_new_theme_is_found_and_named_as_new() -> None:
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(40):
        counts = stream(rng, scale=2, variation=0.15)
        counts[0, :BASELINE], counts[0, BASELINE:] = 0, [5, 5]
        found += judge(counts)[0].emerging
    assert found >= 36


def test_a_rise_of_everything_is_no_emergence_but_one_theme_against_it_is() -> None:
    def decide(first: int) -> list[bool]:
        counts = [Counts(first, 140, first, first), *[Counts(60, 140, 60, 60)] * 19]
        verdicts = emerging(
            counts,
            recent_days=2,
            baseline_days=14,
            total_recent=sum(c.recent for c in counts),
            total_baseline=sum(c.baseline for c in counts),
            dispersion=0.1,
        )
        return [v.emerging for v in verdicts]

    assert decide(60) == [False] * 20
    assert decide(260) == [True] + [False] * 19


def test_a_theme_that_holds_still_while_the_rest_falls_silent_does_not_emerge() -> None:
    evidence = emergence(20, 2, 140, 14, total_recent=30, total_baseline=3000, dispersion=0.1)
    assert evidence is not None
    assert evidence.rate_ratio == pytest.approx(1, abs=0.05)
    assert evidence.p > 0.3


@pytest.mark.parametrize(
    ("texts", "people", "expected"), [(30, 30, True), (30, 3, False), (3, 30, False), (4, 4, True)]
)
def test_few_people_or_few_texts_do_not_emerge(texts: int, people: int, expected: bool) -> None:
    counts = [Counts(30, 4, texts, people), *[Counts(5, 35, 5, 5) for _ in range(10)]]
    verdicts = emerging(
        counts, recent_days=2, baseline_days=14, total_recent=80, total_baseline=354, dispersion=0.2
    )
    assert verdicts[0].emerging is expected
    assert not any(v.emerging for v in verdicts[1:])


def test_one_person_a_day_never_emerges() -> None:
    """What a loud author comes down to once people are counted once a day."""
    counts = [Counts(2, 0, 40, 1), *[Counts(5, 35, 5, 5) for _ in range(10)]]
    verdicts = emerging(
        counts, recent_days=2, baseline_days=14, total_recent=52, total_baseline=350, dispersion=0.2
    )
    assert not verdicts[0].emerging


def test_without_baseline_days_there_is_no_verdict() -> None:
    assert emergence(50, 1, 0, 4.9, total_recent=90, total_baseline=0, dispersion=0.2) is None
    verdicts = emerging(
        [Counts(50, 0, 50, 50)],
        recent_days=1,
        baseline_days=3,
        total_recent=90,
        total_baseline=80,
        dispersion=0.2,
    )
    assert verdicts == [Verdict(emerging=False, evidence=None)]


@given(
    recent=st.integers(0, 200),
    baseline=st.integers(0, 200),
    others=st.tuples(st.integers(0, 2000), st.integers(0, 2000)),
    days=st.tuples(st.floats(0.25, 7), st.floats(5, 60)),
    spread=st.floats(0.02, 2),
)
@settings(max_examples=150, deadline=None)
def test_the_interval_holds_the_ratio_and_agrees_with_p(
    recent: int, baseline: int, others: tuple[int, int], days: tuple[float, float], spread: float
) -> None:
    evidence = emergence(
        recent,
        days[0],
        baseline,
        days[1],
        total_recent=recent + others[0],
        total_baseline=baseline + others[1],
        dispersion=spread,
    )
    assert isinstance(evidence, Emergence)
    assert 0 <= evidence.low <= evidence.rate_ratio <= evidence.high <= MAX_RATIO
    assert 0 <= evidence.p <= 1
    if abs(evidence.p - 0.025) > 1e-6:
        assert (evidence.low > 1) == (evidence.p < 0.025)


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.05, 50), st.floats(0.05, 50))
@settings(max_examples=60, deadline=None)
def test_the_tail_is_that_of_scipys_beta_binomial(k: int, n: int, a: float, b: float) -> None:
    assert _at_least(k, n, a, b) == pytest.approx(float(stats.betabinom(n, a, b).sf(k - 1)), abs=1e-9)


def test_more_recent_items_are_stronger_evidence() -> None:
    p = [
        e.p
        for r in range(1, 40)
        if (e := emergence(r, 2, 10, 14, total_recent=r + 100, total_baseline=710, dispersion=0.2))
        is not None
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(p))


@pytest.mark.parametrize("variation", [0.1, 0.3, 0.8])
def test_dispersion_is_recovered_from_the_projects_own_days(variation: float) -> None:
    """25 themes, 14 days, mean of 20 streams."""
    rng = np.random.default_rng(2)
    estimates = [dispersion(stream(rng, scale=4, variation=variation)[:, :BASELINE]) for _ in range(20)]
    assert np.mean(estimates) == pytest.approx(variation, rel=0.35)


def test_dispersion_of_little_data_is_the_typical_one() -> None:
    assert dispersion(np.zeros((0, 14), dtype=np.int64)) == pytest.approx(0.2)
    assert dispersion(np.zeros((5, 1), dtype=np.int64)) == pytest.approx(0.2)
    assert dispersion(np.zeros((5, 14), dtype=np.int64)) == pytest.approx(0.2)
    assert 0.1 < dispersion(np.array([[1, 0, 2, 0, 1]])) < 0.4
    with pytest.raises(ValueError, match="themes, days"):
        dispersion(np.zeros(4, dtype=np.int64))


def test_benjamini_hochberg_on_its_papers_example() -> None:
    """Benjamini and Hochberg (1995), section 3.2: at .05 the four smallest of fifteen are rejected."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
    ]
    p += [0.7590, 1.0]
    assert benjamini_hochberg(p, level=0.05) == [True] * 4 + [False] * 11
    assert benjamini_hochberg(p[::-1], level=0.05) == [False] * 11 + [True] * 4
    assert benjamini_hochberg([], level=0.05) == []
    with pytest.raises(ValueError, match="p-values"):
        benjamini_hochberg([1.2], level=0.05)


def test_bad_counts_are_refused() -> None:
    for bad in ({"recent": -1}, {"recent": 11}, {"baseline": 11}, {"recent_days": 0}, {"dispersion": 0}):
        good = {"recent": 1, "recent_days": 1, "baseline": 1, "baseline_days": 9}
        totals = {"total_recent": 10, "total_baseline": 10, "dispersion": 0.2}
        with pytest.raises(ValueError, match=r"must be"):
            emergence(**{**good, **totals, **bad})  # type: ignore[arg-type]
