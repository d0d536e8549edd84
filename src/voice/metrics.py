"""What is measured, in every process; each name is listed in docs/operate/metrics.md.

One process keeps its numbers in memory. Processes that share a folder (`PROMETHEUS_MULTIPROC_DIR`, set before this
module is imported) keep them in files there, and whichever is asked shows the sum:
https://prometheus.github.io/client_python/multiprocess/
"""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CHILD_NAME = "VOICE_CHILD"
"""The parent of the embedded shape tells each child its name in this variable."""

_FILE_BYTES = 1 << 18
"""Room for some 2 000 numbers of one kind and process."""

_PHASE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_JOB_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800)

# A file's name must outlive its process: a child that is started again goes on where its forerunner ended, so neither
# counters nor files are lost or pile up. By default the library names files by process id.
_identity = [os.environ.get(CHILD_NAME, "")]


def identity() -> str:
    """The name of this process among those that share a folder."""
    return _identity[0] or str(os.getpid())


def become(name: str) -> None:
    """Take the name that this process's forerunner had. No two living processes may have the same."""
    _identity[0] = name


class _WithoutHoles(MmapedDict):
    """A file of numbers whose every byte has its place on the disk: a write into a hole of a mapped file kills the
    process (SIGBUS) when the disk is full."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _fill(filename, _FILE_BYTES)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + 4 * len(key) + 64 > self._capacity:  # more than the entry takes
            _fill(self._fname, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _fill(filename: str, size: int) -> None:
    """Lengthen a file with zeros, all of it or not at all. Raises OSError."""
    with open(filename, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            while (missing := size - os.fstat(file.fileno()).st_size) > 0:
                file.write(bytes(missing))
        except OSError:
            if before:
                os.truncate(filename, before)
            else:
                os.unlink(filename)  # whoever reads all files could not read an empty one
            raise


if SHARED_FOLDER in os.environ:
    values.MmapedDict = _WithoutHoles  # type: ignore[attr-defined]
    values.ValueClass = values.MultiProcessValue(process_identifier=identity)  # type: ignore[no-untyped-call]


def _counter(name: str, meaning: str, label: str | None = None, known: Iterable[str] = ()) -> Counter:
    """A counter whose known label values are shown from the start, as zero."""
    made = Counter(name, meaning, [label] if label else [])
    for value in known:
        made.labels(value)
    return made


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(name, meaning, labels, multiprocess_mode="mostrecent")


BUILD = _gauge("voice_build_info", "Always 1; the labels say what runs.", "version", "encoder")
PROCESS_MEMORY = _gauge("voice_process_memory_bytes", "Resident memory when last looked at.", "process")

DATABASE_UP = _gauge("voice_database_up", "1 when the database answered the last look, else 0.")
PENDING = _gauge("voice_pending_rows", "Feedback rows that wait for analysis, claimed ones included.")
CLAIMED = _gauge("voice_claimed_rows", "Feedback rows that a worker holds.")
OLDEST_PENDING = _gauge("voice_oldest_pending_seconds", "Age of the oldest row that waits.")
DEAD = _gauge("voice_dead_rows", "Feedback rows set aside after repeated failures.")

INTAKE = _counter(
    "voice_intake_total",
    "Submissions by what became of them.",
    "outcome",
    ("stored", "updated", "duplicate", "erased", "rejected"),
)
WRITER_WAITING = _gauge("voice_writer_waiting", "Intake requests waiting for the writer.")
WRITER_CAPACITY = _gauge("voice_writer_capacity", "Intake requests that may wait before 429 is answered.")
WRITER_GROUP = Histogram(
    "voice_writer_group_requests",
    "Requests that one transaction of the writer held.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
WRITER_SECONDS = Histogram(
    "voice_writer_commit_seconds", "Time of one transaction of the writer.", buckets=_PHASE_BUCKETS
)
REFUSED = Counter("voice_refused_total", "Requests refused with 429 or 503.", ["status", "reason"])
for _status, _reason in (("429", "rate_limit"), ("429", "writer_full"), ("503", "database")):
    REFUSED.labels(_status, _reason)

SWEEPS = _counter("voice_sweeps_total", "Times a worker looked for rows that wait.")
ANALYSED = _counter("voice_analysed_rows_total", "Feedback rows whose results were kept.")
BATCH_ROWS = Histogram(
    "voice_batch_rows",
    "Rows of one claimed batch.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
)
BATCH_SECONDS = Histogram(
    "voice_batch_seconds", "Time of one batch by phase.", ["phase"], buckets=_PHASE_BUCKETS
)
for _phase in ("claim", "model", "record"):
    BATCH_SECONDS.labels(_phase)
BATCH_FAILURES = _counter("voice_batch_failures_total", "Batches that could not be analysed.")
FAILED_ALONE = _counter("voice_rows_failed_alone_total", "Failures of a row that was claimed alone.")
LEASES_LOST = _counter("voice_leases_lost_total", "Leases that another worker took over.")
RENEWALS_FAILED = _counter("voice_lease_renewals_failed_total", "Renewals that the database did not take.")

DOORBELL_FAILURES = _counter("voice_doorbell_failures_total", "Rings that the broker did not take.")
DATABASE_ERRORS = _counter("voice_database_errors_total", "Statements that the database refused.", "kind")

JOB_SECONDS = Histogram("voice_job_seconds", "Time of one run of a job.", ["name"], buckets=_JOB_BUCKETS)
JOBS_FAILED = _counter("voice_jobs_failed_total", "Runs of a job that failed.", "name")
JOB_SUCCESS = _gauge(
    "voice_job_last_success_timestamp_seconds", "When a job last ended well, as Unix time.", "name"
)
EVALUATION_SECONDS = Histogram(
    "voice_evaluation_seconds", "Time to evaluate the themes of one project.", buckets=_JOB_BUCKETS
)


def note_memory(process: str) -> None:
    """Keep this process's resident memory under its name. Linux only: elsewhere nothing is shown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return
    PROCESS_MEMORY.labels(process).set(pages * os.sysconf("SC_PAGE_SIZE"))


@cache
def registry() -> CollectorRegistry:
    """What a scrape shows: the metrics of this process, or of every process that shares its folder."""
    if SHARED_FOLDER not in os.environ:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    ProcessCollector(registry=shared)
    PlatformCollector(registry=shared)
    return shared


def exposition() -> bytes:
    """Everything measured, in Prometheus' text format."""
    return generate_latest(registry())
