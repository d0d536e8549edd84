"""The Celery form of the doorbell, and the one place that knows how Celery is set up."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery

from voice import metrics
from voice.config import Settings

log = structlog.get_logger()

QUEUES = ("analyse", "pull", "themes", "notify")
RING_EXPIRES_SECONDS = 30
SWEEP_SECONDS = 15
REST_SECONDS = 0.1
SELDOM_SECONDS = 300

Ring = tuple[str, tuple[tuple[str, str], ...]]

# Which queue each job goes to: `analyse` runs models, the others mostly wait for the database or the network.
JOB_QUEUES = {
    "analyse": "analyse",
    "evaluate": "themes",
    "retopic": "themes",
    "forget": "notify",
    "tidy": "notify",
}


def make_celery(settings: Settings) -> Celery:
    """A Celery app whose messages carry no feedback and may be lost at any time."""
    app = Celery("voice", set_as_current=False)
    app.conf.update(
        broker_url=settings.broker,
        broker_transport_options=_transport(settings),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue="notify",
        task_create_missing_queues=True,
        task_routes={job: {"queue": queue} for job, queue in JOB_QUEUES.items()},
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        beat_schedule=_schedule(settings),
        beat_schedule_filename=str(settings.data_dir.absolute() / "beat-schedule"),
        timezone="UTC",
    )
    return app


def _transport(settings: Settings) -> dict[str, Any]:
    if settings.is_embedded_broker:
        folder = settings.broker_folder
        for name in ("messages", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        messages = str(folder / "messages")
        return {
            "data_folder_in": messages,
            "data_folder_out": messages,
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        }
    # redis-py 8 gives up after 5 s by default, which a worker waiting for work would hit.
    return {
        "socket_timeout": 20,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "socket_keepalive_options": _noticing_silence(),
        "health_check_interval": 10,
    }


def _noticing_silence() -> dict[int, int]:
    """A line that went mute ends after some 15 seconds; the kernel alone would wait for two hours."""
    wanted = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def _schedule(settings: Settings) -> dict[str, Any]:
    every = {
        "analyse": SWEEP_SECONDS,
        "evaluate": settings.evaluate_seconds,
        "forget": SELDOM_SECONDS,
        "retopic": SELDOM_SECONDS,
        "tidy": 3600,
    }
    # Without `expires`: a worker whose clock is hours ahead takes every ring for expired, and has only these.
    return {job: {"task": job, "schedule": float(seconds)} for job, seconds in every.items()}


class CeleryDoorbell:
    """Rings by sending an empty message; a broker that is away is noticed, logged and survived.

    A thread of its own sends, so that nobody waits for the broker; at exit it sends what is left. Equal rings that
    still wait are one, and the same ring is sent ten times a second at most.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = make_celery(settings)
        # By default kombu tries for six seconds, and Redis may be mute for twenty: the end of this process would wait
        # for it. A ring may be lost, since the schedule rings too.
        impatient = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
        if not settings.is_embedded_broker:
            impatient |= {"socket_timeout": 2, "socket_connect_timeout": 2}
        self._app.conf.broker_transport_options = {**self._app.conf.broker_transport_options, **impatient}
        self._silent_until = 0.0
        self._last: Ring | None = None
        self._rested_at = 0.0
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
        self._waiting: set[Ring] = set()
        self._lock = threading.Lock()

    def ring(self, job: str, **arguments: str) -> None:
        """Have the job's name and ids sent; never raises. After a failure it stays silent for a second."""
        ring = (job, tuple(sorted(arguments.items())))
        with self._lock:
            if ring in self._waiting:
                return
            self._waiting.add(ring)
        with suppress(RuntimeError):  # the process is ending
            self._sender.submit(self._send, ring)

    def _send(self, ring: Ring) -> None:
        if ring == self._last and (rest := self._rested_at - time.monotonic()) > 0:
            time.sleep(
                rest
            )  # a busy writer commits hundreds of times a second; one ring says as much as hundreds
        with self._lock:
            self._waiting.discard(ring)
        self._last, self._rested_at = ring, time.monotonic() + REST_SECONDS
        if time.monotonic() < self._silent_until:
            return
        job, arguments = ring
        try:
            self._app.send_task(
                job,
                kwargs=dict(arguments),
                queue=JOB_QUEUES[job],
                expires=RING_EXPIRES_SECONDS,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:
            self._silent_until = time.monotonic() + 1.0
            metrics.DOORBELL_FAILURES.inc()
            log.warning("doorbell_failed", job=job, error=type(error).__name__)
