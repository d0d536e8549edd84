"""What a second worker for `analyse` brings, on PostgreSQL and Redis.

Run: `python benchmarks/scaling.py`. (a) The shipped models, one thread a worker (`VOICE_MODEL_THREADS=1`): needs two
idle cores for the models, and more for PostgreSQL. (b) A model that sleeps for a fixed time a text: what claims, locks
and the database leave of two workers, whatever the cores. Claims of 32 rows, so that progress is seen in small steps.
"""

from __future__ import annotations

from benchmarks.draining import rate, refill, workers
from benchmarks.harness import Spread, in_turns, installation, options, ratio, table, write_result
from tests.services import redis_database
from voice.doorbell import make_celery

MODELS = {"shipped": "real", "sleeps 5 ms a text": "sleep:5"}


def measure(model: str, *, rows: int, seconds: int, repeats: int) -> list[str]:
    """One row of the table for a model."""
    with (
        redis_database() as broker,
        installation("postgresql", broker_url=broker, batch_size=32, model_threads=1) as runtime,
    ):
        app = make_celery(runtime.settings)

        def once(n: int) -> float:
            refill(runtime, rows)
            with workers(runtime, n, model=MODELS[model]):
                for _ in range(n):
                    app.send_task("drain", queue="benchmark")
                return rate(runtime, rows, seconds=seconds)

        print(model, flush=True)
        rates = in_turns({"one": lambda: once(1), "two": lambda: once(2)}, repeats)
    return [
        model,
        ratio(rates["two"], rates["one"]).shown(),
        " / ".join(f"{Spread.of(rates[name]).median:,.0f}" for name in rates),
    ]


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, rows=10_000, seconds=20, repeats=5)
    del asked.databases
    rows = [measure(model, rows=asked.rows, seconds=asked.seconds, repeats=asked.repeats) for model in MODELS]
    note = (
        "Medians of the turns' quotients, with the least and the greatest. The rate is counted from the first rows done: "
        "the loading of the models is left out."
    )
    write_result(
        "scaling",
        "One worker and two",
        asked,
        [table(("model", "two ÷ one", "rows/s, one / two"), rows), note],
    )


if __name__ == "__main__":
    main()
