"""False alarms and power of the emergence test on simulated projects, with the dispersion estimated from their own days.

Run: `python -m benchmarks.themes.emerge [--runs 400]`. A project has 30 themes of unequal size (lognormal, sigma 1), a weekday
cycle, and gamma noise per theme and day; an alarm is a run of the test, over all themes, in which one emerges.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from voice.themes.emerge import Counts, Verdict, dispersion, emerging

THEMES = 30
WEEK = np.array([1, 1.1, 1, 1, 0.9, 0.5, 0.5])


def stream(
    rng: np.random.Generator, *, scale: float, variation: float, rise: float, baseline: int, recent: int
) -> NDArray[np.int64]:
    days = baseline + recent
    rates = rng.lognormal(np.log(scale), 1.0, THEMES)[:, None] * np.resize(WEEK, days)
    rates[:, baseline:] *= rise
    return np.asarray(
        rng.poisson(rates * rng.gamma(1 / variation, variation, (THEMES, days))), dtype=np.int64
    )


def judge(counts: NDArray[np.int64], baseline: int) -> list[Verdict]:
    after, before = counts[:, baseline:].sum(axis=1), counts[:, :baseline].sum(axis=1)
    return emerging(
        [Counts(int(a), int(b), int(a), int(a)) for a, b in zip(after, before, strict=True)],
        recent_days=counts.shape[1] - baseline,
        baseline_days=baseline,
        total_recent=int(after.sum()),
        total_baseline=int(before.sum()),
        dispersion=dispersion(counts[:, :baseline]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=400)
    runs: int = parser.parse_args().runs
    print(f"nothing emerges, {runs} runs of {THEMES} themes: share of runs with an alarm (level .05)")
    for baseline, recent in ((7, 1), (14, 2), (28, 2)):
        for scale in (0.5, 2.0):
            for variation, rise in ((0.15, 1.0), (0.15, 3.0), (0.15, 0.3), (0.5, 1.0)):
                rng = np.random.default_rng(1)
                alarms = sum(
                    any(
                        v.emerging
                        for v in judge(
                            stream(
                                rng,
                                scale=scale,
                                variation=variation,
                                rise=rise,
                                baseline=baseline,
                                recent=recent,
                            ),
                            baseline,
                        )
                    )
                    for _ in range(runs)
                )
                print(
                    f"baseline {baseline:2d} d, recent {recent} d, median theme {scale} a day,"
                    f" variance {variation}, volume x{rise}: {alarms / runs:.3f}"
                )
    print(f"\none new theme that people write about on 2 days, {runs // 4} runs: share found (baseline 14 d)")
    for people in (2, 3, 4, 6, 8):
        rng = np.random.default_rng(2)
        found = 0
        for _ in range(runs // 4):
            counts = stream(rng, scale=2.0, variation=0.15, rise=1.0, baseline=14, recent=2)
            counts[0, :14], counts[0, 14:] = 0, people
            found += judge(counts, 14)[0].emerging
        print(f"{people} people a day: {found / (runs // 4):.2f}")


if __name__ == "__main__":
    main()
