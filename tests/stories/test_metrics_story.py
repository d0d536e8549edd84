"""What /metrics says is what happened, in both shapes, with real processes, after one of them was killed too."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services import postgres_database, redis_database
from tests.stories.installations import Distributed, Embedded, children, embedded, free_port, running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

Numbers = dict[tuple[str, ...], float]


def numbers(page: str) -> Numbers:
    """Every sample by its name and label values."""
    families = text_string_to_metric_families(page)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def scrape(port: int) -> Numbers:
    return numbers(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).raise_for_status().text)


def post(installation: Embedded | Distributed, n: int) -> None:
    with installation.client() as client:
        for number in range(n):
            answer = client.post("/v1/feedback", json={"text": f"The export to CSV fails, {number}."})
            assert answer.status_code == 202


def test_embedded(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation:
        post(installation, 3)

        def analysed(rows: int) -> Callable[[], Numbers | None]:
            def look() -> Numbers | None:
                found = scrape(installation.port)
                counted = found.get(("voice_analysed_rows_total",)) == rows
                return found if counted and found["voice_pending_rows",] == 0 else None

            return look

        first = until(analysed(3), "three rows are counted as analysed")
        assert first["voice_intake_total", "stored"] == 3
        assert first["voice_claimed_rows",] == 0
        assert first["voice_batch_rows_sum",] == 3
        assert first["voice_writer_capacity",] == 1_000
        for phase in ("claim", "model", "record"):
            assert first["voice_batch_seconds_count", phase] == first["voice_batch_rows_count",]
        assert first["voice_process_memory_bytes", "analyse"] > 1_000_000
        assert first["voice_process_memory_bytes", "api"] > 1_000_000

        [worker] = [pid for pid, line in children(installation.parent.pid).items() if "-n analyse@" in line]
        os.kill(worker, signal.SIGKILL)
        post(installation, 2)
        second = until(analysed(5), "the worker that was started again counts on")
        assert second["voice_intake_total", "stored"] == 5
        assert second["voice_batch_rows_sum",] == 5
        until(
            lambda: scrape(installation.port).get(("voice_job_last_success_timestamp_seconds", "evaluate")),
            "an evaluation ended well",
        )
        files = {path.name for path in (installation.data / "metrics").iterdir()}
        names = {name.rpartition("_")[2].removesuffix(".db") for name in files}
        assert names <= {"api", "analyse", "background", "beat"}


class WithWorkersMetrics(Distributed):
    """The distributed shape whose worker for models has two processes and serves its own metrics."""

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        super().__init__(folder, database, broker)
        self.ports = {"analyse": free_port(), "background": free_port()}

    def _here(self, command: list[str]) -> list[str]:
        argv = super()._here(command)
        self.env.pop("VOICE_METRICS_PORT", None)
        for name, port in self.ports.items():
            if any(word.startswith(f"{name}@") for word in argv):
                self.env["VOICE_METRICS_PORT"] = str(port)
        return argv


@pytest.fixture
def distributed(tmp_path: Path) -> Iterator[WithWorkersMetrics]:
    with postgres_database() as database, redis_database() as broker:
        installation = WithWorkersMetrics(tmp_path, database, broker)
        with running(installation):
            yield installation


def test_distributed(distributed: WithWorkersMetrics) -> None:
    worker = distributed.ports["analyse"]
    until(lambda: _answers(worker), "the worker serves its metrics")
    post(distributed, 3)

    def analysed(rows: int) -> Callable[[], bool]:
        return lambda: scrape(worker).get(("voice_analysed_rows_total",)) == rows

    until(analysed(3), "three rows are counted as analysed")
    assert scrape(distributed.port)["voice_intake_total", "stored"] == 3
    assert scrape(worker)["voice_process_memory_bytes", "worker-0"] > 1_000_000

    [pool] = [pid for pid, line in _pools().items() if f"-n analyse@{distributed.port}" in line]
    os.kill(pool, signal.SIGKILL)
    post(distributed, 2)
    until(analysed(5), "the pool's new process counts on where the old one ended")
    assert _answers(distributed.ports["background"])


def _answers(port: int) -> bool:
    try:
        return bool(scrape(port))
    except httpx.HTTPError:
        return False


def _pools() -> dict[int, str]:
    """Processes of pools: descendants of this process that have no children."""
    return {pid: line for pid, line in children(os.getpid()).items() if not children(pid)}
