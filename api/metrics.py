"""Prometheus metrics of the API; every name is listed in docs/operate/metrics.md."""

from prometheus_client import Counter, Gauge, Histogram

from voice.feedback.claims import Backlog

REQUESTS = Counter("voice_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("voice_request_seconds", "Time to answer.", ["method", "route"])
DOORBELL_FAILURES = Counter("voice_doorbell_failures_total", "Rings that the broker did not take.")
PENDING = Gauge("voice_pending_rows", "Feedback rows that wait for analysis.")
OLDEST_PENDING = Gauge("voice_oldest_pending_seconds", "Age of the oldest row that waits.")
DEAD = Gauge("voice_dead_rows", "Feedback rows set aside after repeated failures.")
WRITER_WAITING = Gauge("voice_writer_waiting", "Intake requests waiting for the writer.")


def observe_backlog(backlog: Backlog, writer_waiting: int) -> None:
    """Bring the gauges up to date."""
    PENDING.set(backlog.pending)
    OLDEST_PENDING.set(backlog.oldest_seconds)
    DEAD.set(backlog.dead)
    WRITER_WAITING.set(writer_waiting)
