"""Emerge: does a theme's rate beat its own baseline, with false alarms held at a stated level?

Counts are of distinct people, one a day each, so a loud author or a storm of copies is one voice. Day-to-day rates vary
more than Poisson; with a gamma-distributed daily rate of squared coefficient of variation `dispersion`, the counts of
d days are negative binomial of shape d / dispersion, and given the total of two windows the recent count is
beta-binomial. docs/develop/themes.md has the false alarms and the delay that were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = "emerge-1"

MIN_BASELINE_DAYS = 5.0
LEVEL = 0.05
MIN_TEXTS = 4
MIN_PEOPLE = 4
MAX_RATIO = 1000.0
"""Rate ratios are reported up to this: with no baseline count there is no upper bound."""
TYPICAL_DISPERSION = 0.2
"""Daily rates with a coefficient of variation of .45, taken until the project's own days say otherwise."""
TYPICAL_WEIGHT = 50.0
"""How many squared expected counts the typical dispersion is worth against the project's own."""
DISPERSION_BOUNDS = (0.02, 2.0)
STEADY_VOLUME = 10.0
"""Imaginary items spread evenly over all days, so that a tiny total says little about growth in volume."""


@dataclass(frozen=True, slots=True)
class Emergence:
    """Recent rate over baseline rate with its 95 % interval, after growth in total volume is taken out.

    `p` is one-sided: how often a theme whose rate did not rise shows a recent count as high. `recent` and `baseline`
    are the counts it rests on. Ratios end at 1000.
    """

    rate_ratio: float
    low: float
    high: float
    p: float
    recent: int
    baseline: int


@dataclass(frozen=True, slots=True)
class Counts:
    """One theme: distinct person-days recently and in the baseline; distinct texts and people recently."""

    recent: int
    baseline: int
    texts: int
    people: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """`emerging`, and the evidence for or against; no evidence without a baseline."""

    emerging: bool
    evidence: Emergence | None


def emergence(
    recent: int,
    recent_days: float,
    baseline: int,
    baseline_days: float,
    *,
    total_recent: int,
    total_baseline: int,
    dispersion: float,
) -> Emergence | None:
    """Compare a theme's recent count with its baseline; None with fewer than 5 baseline days.

    `recent` and `baseline` count distinct people a day; the totals count the same over the whole project. What the
    other feedback grew by is taken out, what it shrank by is not: a launch's general rise makes no theme emerge, and
    neither does a quiet weekend. `dispersion` is the extra variance of daily rates, see `dispersion`.

    Raises ValueError on negative counts, a count above its total, days or dispersion that are not positive.
    """
    if recent < 0 or baseline < 0 or total_recent < recent or total_baseline < baseline:
        raise ValueError("counts must be 0 or more and not above their totals")
    if not (recent_days > 0 and baseline_days > 0 and dispersion > 0):
        raise ValueError("days and dispersion must be positive")
    if baseline_days < MIN_BASELINE_DAYS:
        return None
    odds = _exposure(recent_days, baseline_days, total_recent - recent, total_baseline - baseline)
    shape = recent_days / dispersion
    ratio = (recent + 0.5) / (baseline + 0.5) / odds
    low = 0.0 if recent == 0 else _bound(recent, baseline, odds, shape, upper=False)
    high = MAX_RATIO if baseline == 0 else _bound(recent, baseline, odds, shape, upper=True)
    return Emergence(
        rate_ratio=float(np.clip(ratio, low, high)),
        low=low,
        high=high,
        p=_at_least(recent, recent + baseline, shape, shape / odds),
        recent=recent,
        baseline=baseline,
    )


def dispersion(daily_counts: NDArray[np.integer]) -> float:
    """Extra-Poisson variance of daily rates from (themes, days) counts: variance = mean + dispersion * mean².

    Moments about what each theme's own mean and the other themes' volume of that day lead one to expect, weighted by
    their precision, shrunk towards .2 while there is little data and clipped to [.02, 2]. Pass baseline days: an
    emerging theme is not noise.
    """
    counts = np.asarray(daily_counts, dtype=np.float64)
    if counts.ndim != 2:
        raise ValueError("daily counts must be (themes, days)")
    days = counts.shape[1]
    if days < 2:
        return TYPICAL_DISPERSION
    others = counts.sum(axis=0, keepdims=True) - counts
    volume = others.sum(axis=1, keepdims=True)
    share_of_day = np.where(volume > 0, others / np.maximum(volume, 1.0), 1.0 / days)
    expected = counts.sum(axis=1, keepdims=True) * share_of_day
    precision = (1.0 + TYPICAL_DISPERSION * expected) ** -2
    extra = (precision * ((counts - expected) ** 2 * days / (days - 1) - expected)).sum()
    weight = (precision * expected**2).sum()
    estimate = (extra + TYPICAL_DISPERSION * TYPICAL_WEIGHT) / (weight + TYPICAL_WEIGHT)
    return float(np.clip(estimate, *DISPERSION_BOUNDS))


def benjamini_hochberg(p: Sequence[float], *, level: float) -> list[bool]:
    """Which of the p-values are discoveries at this false-discovery rate (Benjamini and Hochberg 1995)."""
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("p-values must lie in 0..1")
    order = np.argsort(values)
    passed = values[order] <= level * np.arange(1, len(values) + 1) / max(len(values), 1)
    cut = int(np.flatnonzero(passed)[-1]) + 1 if passed.any() else 0
    found = np.zeros(len(values), dtype=bool)
    found[order[:cut]] = True
    return [bool(x) for x in found]


def emerging(
    themes: Sequence[Counts],
    *,
    recent_days: float,
    baseline_days: float,
    total_recent: int,
    total_baseline: int,
    dispersion: float,
    level: float = LEVEL,
) -> list[Verdict]:
    """Decide for all themes of a project at once: Benjamini-Hochberg over their p-values at `level`.

    A theme emerges when it is a discovery, its interval lies above 1, and at least 4 distinct people wrote at
    least 4 distinct texts recently. Nothing emerges without 5 baseline days. Pass all living themes, the quiet ones
    too: leaving them out makes the test count fewer comparisons than were made.
    """
    tested = [
        emergence(
            theme.recent,
            recent_days,
            theme.baseline,
            baseline_days,
            total_recent=total_recent,
            total_baseline=total_baseline,
            dispersion=dispersion,
        )
        for theme in themes
    ]
    found = benjamini_hochberg([1.0 if test is None else test.p for test in tested], level=level)
    return [
        Verdict(
            emerging=test is not None
            and discovery
            and test.low > 1
            and theme.texts >= MIN_TEXTS
            and theme.people >= MIN_PEOPLE,
            evidence=test,
        )
        for theme, test, discovery in zip(themes, tested, found, strict=True)
    ]


def _exposure(recent_days: float, baseline_days: float, others_recent: int, others_baseline: int) -> float:
    """Odds that an item falls in the recent window when the theme's own rate is steady."""
    by_days = recent_days / baseline_days
    share = recent_days / (recent_days + baseline_days)
    grown = (others_recent + STEADY_VOLUME * share) / (others_baseline + STEADY_VOLUME * (1 - share))
    return max(by_days, grown)


def _at_least(k: int, n: int, a: float, b: float) -> float:
    """P(X >= k) of a beta-binomial of n draws: sums whichever tail is shorter, in logarithms."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    if k > n // 2:
        return min(1.0, _mass(np.arange(k, n + 1), n, a, b))
    return max(0.0, 1.0 - _mass(np.arange(k), n, a, b))


def _mass(k: NDArray[np.int64], n: int, a: float, b: float) -> float:
    from scipy.special import betaln

    logs = -np.log(n + 1.0) - betaln(n - k + 1.0, k + 1.0) + betaln(k + a, n - k + b) - betaln(a, b)
    return float(np.exp(logs).sum())


def _bound(recent: int, baseline: int, odds: float, shape: float, *, upper: bool) -> float:
    """The rate ratio under which a count this extreme has a chance of 2.5 %, by bisection on its logarithm."""
    n = recent + baseline
    below, above = -np.log(MAX_RATIO), np.log(MAX_RATIO)
    for _ in range(32):
        middle = (below + above) / 2
        b = shape / (odds * np.exp(middle))
        too_low = (
            1 - _at_least(recent + 1, n, shape, b) > 0.025
            if upper
            else _at_least(recent, n, shape, b) < 0.025
        )
        below, above = (middle, above) if too_low else (below, middle)
    return float(np.exp((below + above) / 2))
