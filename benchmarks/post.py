"""What a durable POST costs beside a bare FastAPI hello of the same server process.

Run: `python benchmarks/post.py`. A process asks over keep-alive connections, one request each at a time; the arms take
turns. POST: texts of 150 characters (a tenth with personal data in them), an ingest key, redaction on, answered after
the commit, the doorbell rung. No worker runs. Hello: see served.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from benchmarks import load
from benchmarks.harness import Spread, in_turns, installation, new_key, options, ratio, table, write_result
from benchmarks.redaction import LENGTH
from benchmarks.served import HOST, cpu_seconds, server

_CLAUSES = (
    "The new checkout is quick but the confirmation screen stays blank on my phone.",
    "Since the update last week search results take ages and my filters are gone.",
    "Support answered politely and within the hour, thank you!",
    "Why was I charged twice for the same plan in May?",
    "The export button does nothing when the report has more than one page.",
    "I would love a dark mode for the evening shift.",
    "Login loops back to the start page whenever I use the company account.",
    "Best tool we have bought in years, the whole team uses it.",
)
_PERSONAL = ("Write to ann.example@mail.example please.", "Call me on +49 30 901820 after six.")


def texts(n: int, *, seed: int = 1) -> list[str]:
    """`n` texts of LENGTH characters, a tenth of them with personal data."""
    dice = random.Random(seed)
    made = []
    for number in range(n):
        lead = dice.choice(_PERSONAL) + " " if number % 10 == 0 else ""
        made.append((lead + " ".join(dice.sample(_CLAUSES, 4)))[:LENGTH])
    return made


def measure(database: str, *, connections: int, seconds: int, repeats: int) -> list[str]:
    """One row of the table for a database."""
    with installation(database) as runtime, server(runtime) as (port, process):
        key = new_key(runtime, "ingest")
        bodies = [json.dumps({"text": text}).encode() for text in texts(1_000)]
        asked = {
            "hello": [load.request("GET", "/hello")],
            "dressed": [load.request("GET", "/dressed")],
            "post": [
                load.request("POST", "/v1/feedback", key=key, body=body, media="application/json")
                for body in bodies
            ],
        }
        answers: dict[str, list[load.Answered]] = {name: [] for name in asked}
        costs: dict[str, list[float]] = {name: [] for name in asked}

        def arm(name: str) -> Callable[[], float]:
            def once() -> float:
                before = cpu_seconds(process)
                found = load.run(HOST, port, asked[name], connections=connections, seconds=seconds)
                costs[name].append((cpu_seconds(process) - before) / found.served)
                answers[name].append(found)
                return found.rate

            return once

        print(database, flush=True)
        rates = in_turns({name: arm(name) for name in asked}, repeats)
    waits = {
        which: ratio(
            [getattr(one, which) for one in answers["post"]],
            [getattr(one, which) for one in answers["hello"]],
        )
        for which in ("p50", "p99")
    }
    return [
        database,
        ratio(rates["post"], rates["hello"]).shown(),
        ratio(rates["post"], rates["dressed"]).shown(),
        ratio(costs["hello"], costs["post"]).shown(),
        waits["p50"].shown(".1f"),
        waits["p99"].shown(".1f"),
        f"{sum(one.requests for one in answers['post']):,}",
        f"{Spread.of(rates['post']).median:,.0f} / {Spread.of(rates['hello']).median:,.0f}",
    ]


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, connections=32, seconds=4, repeats=7)
    rows = [
        measure(database, connections=asked.connections, seconds=asked.seconds, repeats=asked.repeats)
        for database in asked.databases
    ]
    heads = (
        "database", "POST ÷ hello", "POST ÷ hello behind Voice's middleware", "CPU of hello ÷ of POST",
        "p50 ÷ hello's", "p99 ÷ hello's", "POSTs",
        "requests/s",
    )  # fmt: skip
    write_result(
        "post",
        "A durable POST beside hello",
        asked,
        [table(heads, rows), "Medians of the turns' quotients, with the least and the greatest."],
    )


if __name__ == "__main__":
    main()
