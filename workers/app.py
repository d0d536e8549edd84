"""The Celery app: `celery -A workers.app worker -Q analyse`, `celery -A workers.app beat`."""

from billiard.process import current_process
from celery import signals

from voice.config import load_settings
from workers import exposition

settings = load_settings()
exposition.share(settings)  # before what follows makes the first metric

from voice import tracing  # noqa: E402
from voice.doorbell import make_celery  # noqa: E402
from voice.logs import configure_logs  # noqa: E402
from workers import lifecycle, tasks  # noqa: E402

app = make_celery(settings)
tasks.register(app)
app.conf.beat_scheduler = "workers.beat:Beat"


@signals.setup_logging.connect
def _logs(**_: object) -> None:
    configure_logs(settings.log_level, process="worker")


@signals.worker_init.connect
def _before_work(**_: object) -> None:
    lifecycle.check_secrets()


@signals.worker_ready.connect
def _at_work(**_: object) -> None:
    exposition.serve(settings)


@signals.worker_process_init.connect
def _after_fork(**_: object) -> None:
    lifecycle.forget(getattr(current_process(), "index", None))


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _at_the_end(**_: object) -> None:
    tracing.close()
