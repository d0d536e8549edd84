"""Memory of each process of `voice up`: idle, and after ten thousand rows were sent and analysed.

Run: `python benchmarks/memory.py`. Linux only. PSS shares what several processes map among them, so the sum of PSS is
what the machine really gives; RSS counts it in full in each. Rows are sent in batches through the API.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.harness import options, table, write_result
from benchmarks.import_real import _role, free_port, running, statuses
from benchmarks.post import texts

BATCH = 1_000
SETTLE_SECONDS = 10.0

Memory = dict[str, tuple[float, float]]


def memory(parent: int) -> Memory:
    """(PSS, RSS) in MB of a process and its children, by what they do."""
    found: Memory = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            if parent not in (int(folder.name), int(status["PPid"])):
                continue
            command = (folder / "cmdline").read_text().replace("\0", " ")
            lines = (folder / "smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        found[_role(command)] = (sizes["Pss"], sizes["Rss"])
    return found


def send(client: httpx.Client, rows: int) -> None:
    """Send rows and wait until all are analysed."""
    given = texts(rows)
    for start in range(0, rows, BATCH):
        lines = "\n".join(json.dumps({"text": text}) for text in given[start : start + BATCH])
        client.post("/v1/feedback/batch", content=lines.encode()).raise_for_status()
    for status in statuses(client):
        if status["pending"] == 0:
            return


def main() -> None:
    """Measure, print, write."""
    asked = options(__doc__, rows=10_000)
    del asked.databases
    with tempfile.TemporaryDirectory(prefix="voice-bench-") as given:
        folder = Path(given)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VOICE_")}
        env = kept | {
            "VOICE_DATA_DIR": str(folder / "data"),
            "VOICE_PORT": str(free_port()),
            "VOICE_LOG_LEVEL": "WARNING",
        }
        with running(env, folder) as (parent, client):
            time.sleep(SETTLE_SECONDS)
            idle = memory(parent)
            send(client, asked.rows)
            time.sleep(SETTLE_SECONDS)
            after = memory(parent)
    rows = [(role, *(f"{size:.0f}" for size in (*idle[role], *after[role]))) for role in sorted(idle)]
    totals = [sum(sizes[kind] for sizes in when.values()) for when in (idle, after) for kind in (0, 1)]
    rows.append(("all", *(f"{total:.0f}" for total in totals)))
    heads = ("process", "idle PSS", "idle RSS", "PSS after", "RSS after")
    note = f"MB. After: {SETTLE_SECONDS:.0f} s after {asked.rows:,} rows were analysed by the shipped models; n = 1."
    write_result("memory", "Memory of the processes", asked, [table(heads, rows), note])


if __name__ == "__main__":
    main()
