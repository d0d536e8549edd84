"""One Runtime per worker process, opened on first use so that nothing heavy crosses a fork."""

import threading

from voice.config import load_settings
from voice.runtime import Runtime

_lock = threading.Lock()
_open: list[Runtime] = []


def runtime() -> Runtime:
    """This process's Runtime."""
    with _lock:
        if not _open:
            _open.append(Runtime(load_settings()))
        return _open[0]


def forget() -> None:
    """Start anew after a fork: connections and models of the parent are not ours."""
    _open.clear()
