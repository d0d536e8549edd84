"""What is measured of every job."""

import time
from collections.abc import Callable
from functools import wraps

from voice import metrics

KEEPS_TICKS = frozenset({"evaluate"})
"""Jobs that note in the database how each of their ticks ended: the API reads there when one last ended well."""


def measured(name: str, job: Callable[..., None]) -> Callable[..., None]:
    """The job, with its time, its failures, its last success and the memory it leaves behind."""
    for one in (metrics.JOB_SECONDS, metrics.JOBS_FAILED):
        one.labels(name)

    @wraps(job)
    def run(**arguments: str) -> None:
        began = time.perf_counter()
        try:
            job(**arguments)
        except Exception:
            metrics.JOBS_FAILED.labels(name).inc()
            raise
        finally:
            metrics.JOB_SECONDS.labels(name).observe(time.perf_counter() - began)
            metrics.note_memory(metrics.identity())
        if name not in KEEPS_TICKS:
            metrics.JOB_SUCCESS.labels(name).set_to_current_time()

    return run
