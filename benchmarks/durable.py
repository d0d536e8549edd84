"""The way to a stored analysis, claim → record, beside one Celery task for each feedback, with models that take no time.

Run: `python benchmarks/durable.py`. All arms: the same worker (one process, pool solo), the same Redis, the same
database. Naive, whole: `acks_late`, one commit a feedback, with the effects that the durable way has: result, topics,
trends, event. Naive, result alone: the same without trends and event, so with less to do. The rows, and the messages of
the naive arms, are there before the worker starts; its start is not counted.
"""

from __future__ import annotations

from celery import Celery

from benchmarks.draining import rate, refill, workers
from benchmarks.harness import Spread, in_turns, installation, options, ratio, table, write_result
from tests.services import redis_database
from voice.doorbell import make_celery
from voice.runtime import Runtime


def durable(runtime: Runtime, app: Celery, n: int) -> float:
    """Rows a second of Voice's way: one message for all of them."""
    refill(runtime, n)
    app.send_task("drain", queue="benchmark")
    with workers(runtime, 1, model="none"):
        return rate(runtime, n)


def naive(runtime: Runtime, app: Celery, n: int, *, task: str) -> float:
    """Rows a second of one task each."""
    with app.producer_or_acquire() as producer:
        for feedback_id in refill(runtime, n):
            app.send_task(task, args=[feedback_id], queue="benchmark", producer=producer)
    with workers(runtime, 1, model="none"):
        return rate(runtime, n)


def measure(database: str, *, rows: int, naive_rows: int, repeats: int) -> list[str]:
    """One row of the table for a database."""
    with redis_database() as broker, installation(database, broker_url=broker) as runtime:
        app = make_celery(runtime.settings)
        print(database, flush=True)
        rates = in_turns(
            {
                "durable": lambda: durable(runtime, app, rows),
                "naive-whole": lambda: naive(runtime, app, naive_rows, task="naive-whole"),
                "naive": lambda: naive(runtime, app, naive_rows, task="naive"),
            },
            repeats,
        )
    return [
        database,
        ratio(rates["durable"], rates["naive-whole"]).shown(".1f"),
        ratio(rates["durable"], rates["naive"]).shown(".1f"),
        " / ".join(f"{Spread.of(rates[name]).median:,.0f}" for name in rates),
    ]


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, rows=12_800, naive_rows=1_000, repeats=5)
    rows = [
        measure(database, rows=asked.rows, naive_rows=asked.naive_rows, repeats=asked.repeats)
        for database in asked.databases
    ]
    note = "Batches of 128. Medians of the turns' quotients, with the least and the greatest."
    write_result(
        "durable",
        "The durable way to an analysis beside one task a feedback",
        asked,
        [
            table(
                (
                    "database",
                    "durable ÷ naive, whole",
                    "durable ÷ naive, result alone",
                    "rows/s, durable / whole / result alone",
                ),
                rows,
            ),
            note,
        ],
    )


if __name__ == "__main__":
    main()
