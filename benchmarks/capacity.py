"""What a month of feedback needs: processes, disk and money, from measured rates and stated assumptions.

Run: `python benchmarks/capacity.py` after `scaling.py`, `batch.py` and `trends.py`, with the rates they gave for the
machine in question: `--analysis` rows a second of one worker, `--posts` single POSTs a second of one API process, `--batched`
rows a second of one API process by batches, `--bytes` of disk for a row with its indexes. Everything else is an
assumption, listed in the result and changed by editing `Assumptions`. Two answers: arithmetic, and a simulation of a week
minute by minute, in which what the workers cannot take at the peak waits and is taken at night.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import RESULTS, machine, table

DAYS = 30
SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured here. Prices: dollars a month, a rough mean of public clouds' list prices; put in your own."""

    peak_hour_over_mean: float = 3.0
    """The busiest hour beside the mean hour: office hours in a few time zones."""
    burst_over_peak: float = 2.0
    """A minute within that hour, for example after a mail to everybody."""
    launch_over_mean: float = 5.0
    """One day in the simulated week: the launch."""
    busy: float = 0.7
    """The share of its measured rate that a process is planned for."""
    single_share: float = 0.5
    """Of the rows, how many come one by one; the rest in batches."""
    months_kept: int = 12
    rows_a_partition: int = 50_000_000
    """PostgreSQL: beyond it, vacuum and index builds of one table take hours; partition by month of `created_at`."""
    core_a_month: float = 25.0
    disk_gb_a_month: float = 0.10
    memory_gb_a_month: float = 3.0
    worker_memory_gb: float = 0.5
    api_memory_gb: float = 0.25
    database_cores: int = 4
    database_memory_gb: float = 32.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured, for one process each."""

    analysis: float
    posts: float
    batched: float
    row_bytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What it takes."""

    mean: float
    peak: float
    workers: int
    apis: int
    disk_gb: float
    partitions: int
    dollars: float
    longest_wait: float
    """Minutes that the last row of the worst queue of the simulated week waits."""


def plan(rows: int, rates: Rates, given: Assumptions) -> Plan:
    """Workers for the peak hour of a common day, API processes for its bursts, disk for what is kept."""
    mean = rows / DAYS / SECONDS_A_DAY
    peak = mean * given.peak_hour_over_mean
    workers = max(1, math.ceil(peak / (rates.analysis * given.busy)))
    seconds_a_row = given.single_share / rates.posts + (1 - given.single_share) / rates.batched
    apis = max(1, math.ceil(peak * given.burst_over_peak * seconds_a_row / given.busy))
    kept = rows * given.months_kept
    disk = kept * rates.row_bytes / 1e9
    memory = workers * given.worker_memory_gb + apis * given.api_memory_gb + given.database_memory_gb
    cores = workers + apis + given.database_cores
    dollars = cores * given.core_a_month + memory * given.memory_gb_a_month + disk * given.disk_gb_a_month
    wait = simulate(mean, workers * rates.analysis, given)
    partitions = given.months_kept if kept > given.rows_a_partition else 1
    return Plan(mean, peak, workers, apis, disk, partitions, dollars, wait)


def simulate(mean: float, rate: float, given: Assumptions, *, seed: int = 1) -> float:
    """Minutes that a row waits at worst in a week by the minute: daily curve, a launch day, bursts; one queue, `rate` a second."""
    dice = random.Random(seed)
    waiting = worst = 0.0
    sharpness = _sharpness(given.peak_hour_over_mean)
    for minute in range(7 * 1_440):
        hour = minute % 1_440 / 60
        curve = math.exp(sharpness * math.cos((hour - 14) / 24 * 2 * math.pi)) / np.i0(sharpness)
        launch = given.launch_over_mean if minute // 1_440 == 2 else 1.0
        burst = given.burst_over_peak if dice.random() < 0.02 else 1.0
        arriving = mean * 60 * curve * launch * burst
        arrived = max(0.0, dice.gauss(arriving, math.sqrt(arriving)))
        waiting = max(0.0, waiting + arrived - rate * 60)
        worst = max(worst, waiting / (rate * 60))
    return worst


def _sharpness(peak: float) -> float:
    """The κ of the von Mises density whose top is `peak` times its mean: a day's curve with a mean of exactly one."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(middle) / np.i0(middle) < peak else (low, middle)
    return low


def main() -> None:
    """Compute, print, write."""
    parser = argparse.ArgumentParser(description="What a month of feedback needs.")
    parser.add_argument("--analysis", type=float, required=True, help="rows/s of one worker (scaling.py)")
    parser.add_argument("--posts", type=float, required=True, help="POSTs/s of one API process (post.py)")
    parser.add_argument(
        "--batched", type=float, required=True, help="batch rows/s of one API process (batch.py)"
    )
    parser.add_argument(
        "--bytes", type=float, required=True, help="disk bytes a row (trends.py, and vectors)"
    )
    asked = parser.parse_args()
    rates, given = Rates(asked.analysis, asked.posts, asked.batched, asked.bytes), Assumptions()
    rows = []
    for month in (1_000_000, 10_000_000, 100_000_000):
        found = plan(month, rates, given)
        rows.append(
            (
                f"{month:,}", f"{found.mean:,.1f} / {found.peak:,.1f}", f"{found.workers}", f"{found.apis}",
                f"{found.longest_wait:,.0f} min", f"{found.disk_gb:,.0f} GB", f"{found.partitions}",
                f"${found.dollars:,.0f}", f"${found.dollars / month * 1e6:,.0f}",
            )
        )  # fmt: skip
    heads = (
        "feedback a month", "rows/s, mean / peak hour", "analyse workers (1 core each)", "API processes",
        "longest wait in the launch week", "disk for what is kept", "partitions", "a month", "a million",
    )  # fmt: skip
    assumed = table(
        ("assumption", "value"), [(name, str(getattr(given, name))) for name in Assumptions.__slots__]
    )
    text = "\n\n".join(
        [
            "# Capacity",
            "Made by benchmarks/capacity.py, which says what is computed. A model, not a measurement: see its assumptions.",
            machine(),
            f"    python benchmarks/capacity.py --analysis {asked.analysis:g} --posts {asked.posts:g} "
            f"--batched {asked.batched:g} --bytes {asked.bytes:g}",
            table(heads, rows),
            "## Assumptions",
            assumed,
        ]
    )
    (RESULTS / "capacity.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
