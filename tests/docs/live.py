"""A small, real Voice for the examples of the documentation: a part of the demo launch, analysed and evaluated."""

import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from api.app import create_app
from tests.conftest import SECRET, new_key
from voice.accounts import find_project
from voice.clock import parse_rfc3339, utc_now
from voice.config import Settings
from voice.demo import load
from voice.feedback.submission import Submission
from voice.runtime import FIRST_PROJECT, Runtime
from voice.themes.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("recurring_vanish", "google_calendar_sync", "dark_mode")
PER_LABEL = 16
START_SECONDS = 30.0


class InlineWorker:
    """A doorbell that is answered in this process: one thread does the jobs, in their order."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="inline worker")
        self.runtime: Runtime | None = None

    def ring(self, job: str, **arguments: str) -> None:
        """Have the job done soon."""
        assert self.runtime is not None
        pipeline = self.runtime.pipeline
        jobs: dict[str, Callable[[], object]] = {
            "analyse": pipeline.drain,
            "retopic": lambda: pipeline.retopic(arguments["project"]),
        }
        self._rings.put(jobs[job])

    def __enter__(self) -> "InlineWorker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rings.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._rings.get()) is not None:
            job()


def _runtime(folder: Path, worker: InlineWorker) -> Runtime:
    settings = Settings(_env_file=None, data_dir=folder, secret_key=SECRET)  # type: ignore[call-arg]
    runtime = Runtime(settings, doorbell=worker)
    worker.runtime = runtime
    return runtime


def seed(folder: Path) -> None:
    """Fill a data folder with a few themes of the demo launch and its wordless ratings."""
    truth = [json.loads(line) for line in (ROOT / "tests/data/demo_truth.jsonl").read_text().splitlines()]
    wanted = {
        row["external_id"]
        for label in LABELS
        for row in [row for row in truth if row["label"] == label][:PER_LABEL]
    }
    with InlineWorker() as worker:
        runtime = _runtime(folder, worker)
        runtime.migrate()
        now = utc_now()
        rows = [row for row in load(now) if row["external_id"] in wanted or not row.get("text")]
        with runtime.database.write() as session:
            project_id = find_project(session, FIRST_PROJECT).id
            arrivals = [
                runtime.intake.prepare(
                    project_id,
                    Submission.model_validate(row),
                    now=parse_rfc3339(row["created_at"]),
                )
                for row in rows
            ]
            runtime.intake.store(session, arrivals, now=now)
        runtime.pipeline.drain()
        evaluate(
            runtime.database,
            runtime.analyser,
            project_id,
            as_of=now,
            now=now,
            window_days=runtime.settings.window_days,
            window_items=runtime.settings.window_items,
        )
        runtime.close()


@contextmanager
def serving(seeded: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Serve a copy of the seeded data; yields VOICE_URL and the two keys, as `voice.env` would hold them."""
    shutil.copytree(seeded, folder)
    with InlineWorker() as worker:
        runtime = _runtime(folder, worker)
        keys = {f"VOICE_{role.upper()}_KEY": new_key(runtime, role) for role in ("admin", "ingest")}
        app = create_app(runtime=runtime)
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
        thread = threading.Thread(target=server.run, name="docs server")
        thread.start()
        try:
            yield {"VOICE_URL": f"http://127.0.0.1:{_port(server)}", **keys}
        finally:
            server.should_exit = True
            thread.join()


def _port(server: uvicorn.Server) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.02)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port
