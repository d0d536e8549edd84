"""One Runtime per worker process, opened on first use so that nothing heavy crosses a fork."""

import sys
import threading

from voice import metrics, tracing
from voice.config import load_settings
from voice.errors import ConfigurationError
from voice.runtime import Runtime

_lock = threading.Lock()
_open: list[Runtime] = []


def runtime() -> Runtime:
    """This process's Runtime."""
    with _lock:
        if not _open:
            tracing.configure("voice-worker")
            _open.append(Runtime(load_settings()))
        return _open[0]


def check_secrets() -> None:
    """End this process, with one line, when its root secret is not the one that the database was sealed under."""
    live = Runtime(load_settings())
    try:
        live.check_secrets()
    except ConfigurationError as error:
        print(f"voice: {error.detail}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        live.close()


def forget(slot: int | None) -> None:
    """Start anew after a fork: connections and models of the parent are not ours.

    `slot` is the place in a pool of processes: whoever takes it over after this process takes over its numbers.
    """
    _open.clear()
    if slot is not None:
        metrics.become(f"worker-{slot}")
