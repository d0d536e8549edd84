"""A worker's own /metrics, for installations where each worker is a container; off while VOICE_METRICS_PORT is 0."""

import atexit
import os
import shutil
import tempfile

import structlog

from voice.config import Settings

log = structlog.get_logger()


def share(settings: Settings) -> None:
    """Give the processes of this worker's pool a folder for their numbers.

    Call it before anything imports `voice.metrics`, where the choice is made.
    """
    if settings.metrics_port and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="voice-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def serve(settings: Settings) -> None:
    """Answer GET /metrics from a thread of this process; a port that is taken costs the metrics, not the worker."""
    if not settings.metrics_port:
        return
    from prometheus_client import start_http_server

    from voice.metrics import registry

    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry())
    except OSError as error:
        log.warning("metrics_not_served", port=settings.metrics_port, error=error.strerror)
