"""What changed: appended with the change itself, read by audit, undo, live updates and alerts."""

from voice.events.doorbell import Doorbell, SilentDoorbell
from voice.events.log import (
    Change,
    amend,
    append,
    append_all,
    event_view,
    get_event,
    mark_undone,
    read_events,
)

__all__ = [
    "Change",
    "Doorbell",
    "SilentDoorbell",
    "amend",
    "append",
    "append_all",
    "event_view",
    "get_event",
    "mark_undone",
    "read_events",
]
