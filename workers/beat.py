"""The schedule's clock, for machines whose own clock may be set back and whose disk may be full."""

from datetime import timedelta
from typing import Any

import structlog
from celery.beat import PersistentScheduler

log = structlog.get_logger()

_SET_BACK = timedelta(seconds=5)


class Beat(PersistentScheduler):  # type: ignore[misc]
    """Celery's own waits until a clock that was set back has caught up, and ends when it cannot save its file."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due; seconds until the next call."""
        now = self.app.now()
        entries = list(self.schedule.values())
        if any(entry.last_run_at > now + _SET_BACK for entry in entries):
            log.warning("clock_set_back")
            for entry in entries:
                entry.last_run_at = min(entry.last_run_at, now)
            self._heap = None
        wait: float = super().tick(*args, **kwargs)
        return wait

    def sync(self) -> None:
        """Save when each job last ran; what could not be saved is known again at the next save."""
        try:
            super().sync()
        except OSError as error:
            log.warning("schedule_not_saved", error=type(error).__name__)
