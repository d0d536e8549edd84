"""What a row of a batch costs: beside hello of the same server, and beside the driver's own bulk insert.

Run: `python benchmarks/batch.py`. Batch: `POST /v1/feedback/batch` with lines of 150 characters (a tenth with personal
data in them), validated, redacted, stored 500 rows a transaction, every line answered. Raw: rows that are ready already
go into the same table in transactions of 500, by `executemany` (SQLite) or COPY (PostgreSQL), in the benchmark's process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import insert

from benchmarks import load
from benchmarks.harness import (
    Spread,
    in_turns,
    installation,
    new_key,
    options,
    project_of,
    ratio,
    table,
    write_result,
)
from benchmarks.post import texts
from benchmarks.served import HOST, server
from voice.db.dialects import CHUNK, bound_rows, table_of
from voice.db.tables import PENDING, Feedback, Source
from voice.feedback.submission import Submission
from voice.ids import new_id
from voice.runtime import Runtime

LINES = 1_000


def raw_rows(runtime: Runtime, n: int) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows as the drivers take them, ready to be stored."""
    project_id = project_of(runtime)
    source = {
        "id": new_id(),
        "project_id": project_id,
        "slug": new_id(),
        "channel": "api",
        "created_at": runtime.clock(),
    }
    with runtime.database.write() as session:
        session.execute(insert(table_of(Source)), [source])
    rest = {
        "source_id": source["id"],
        "status": PENDING,
        "attempts": 0,
        "alone": False,
        "rating_counts": True,
    }
    rows = []
    for text in texts(n):
        arrival = runtime.intake.prepare(project_id, Submission(text=text), now=runtime.clock())
        row = arrival.row | rest
        rows.append({("metadata" if name == "meta" else name): value for name, value in row.items()})
    names = tuple(rows[0])
    return names, bound_rows(table_of(Feedback), names, runtime.database.engine.dialect, rows)


def store_raw(runtime: Runtime, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """The driver's own way, a commit every 500 rows."""
    connection = runtime.database.engine.raw_connection()
    cursor: Any = connection.cursor()
    columns = ", ".join(names)
    try:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            if runtime.settings.is_embedded_database:
                cursor.execute("BEGIN IMMEDIATE")
                marks = ", ".join("?" for _ in names)
                cursor.executemany(f"INSERT INTO feedback ({columns}) VALUES ({marks})", part)
            else:
                with cursor.copy(f"COPY feedback ({columns}) FROM STDIN") as copy:
                    for row in part:
                        copy.write_row(row)
            connection.commit()
    finally:
        connection.close()


def measure(database: str, *, seconds: int, repeats: int) -> list[str]:
    """One row of the table for a database."""
    lines = "\n".join(json.dumps({"text": text}) for text in texts(LINES)).encode()
    with installation(database) as runtime, server(runtime) as (port, _):
        key = new_key(runtime, "ingest")
        batch = load.request("POST", "/v1/feedback/batch", key=key, body=lines, media="application/x-ndjson")

        def asked(request: str, connections: int, worth: int) -> Callable[[], float]:
            def once() -> float:
                found = load.run(HOST, port, [request], connections=connections, seconds=seconds)
                return found.rate * worth

            return once

        def raw() -> float:
            names, rows = raw_rows(runtime, 20 * LINES)
            began = time.perf_counter()
            store_raw(runtime, names, rows)
            return len(rows) / (time.perf_counter() - began)

        print(database, flush=True)
        arms = {
            "hello": asked(load.request("GET", "/hello"), 32, 1),
            "batch": asked(batch, 2, LINES),
            "raw": raw,
        }
        rates = in_turns(arms, repeats)
    return [
        database,
        ratio(rates["batch"], rates["hello"]).shown(),
        ratio(rates["batch"], rates["raw"]).shown(".3f"),
        " / ".join(f"{Spread.of(rates[name]).median:,.0f}" for name in ("batch", "hello", "raw")),
    ]


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, seconds=6, repeats=5)
    rows = [measure(database, seconds=asked.seconds, repeats=asked.repeats) for database in asked.databases]
    heads = (
        "database",
        "batch rows/s ÷ hello requests/s",
        "batch rows/s ÷ raw rows/s",
        "batch / hello / raw",
    )
    notes = (
        f"Batches of {LINES:,} lines over 2 connections. Medians of the turns' quotients, with the least and the "
        f"greatest. Raw: {20 * LINES:,} rows a turn; they were validated, redacted and bound before the clock ran."
    )
    write_result(
        "batch", "Rows of a batch beside hello and beside a raw insert", asked, [table(heads, rows), notes]
    )


if __name__ == "__main__":
    main()
