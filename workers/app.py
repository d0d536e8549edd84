"""The Celery app: `celery -A workers.app worker -Q analyse`, `celery -A workers.app beat`."""

from celery import signals

from voice.config import load_settings
from voice.doorbell import make_celery
from voice.logs import configure_logs
from workers import lifecycle, tasks

settings = load_settings()
app = make_celery(settings)
tasks.register(app)


@signals.setup_logging.connect
def _logs(**_: object) -> None:
    configure_logs(settings.log_level, process="worker")


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    lifecycle.forget()
