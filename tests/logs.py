"""Logging as a process of ours sets it up, inside one test."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog


@contextmanager
def left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever configures logs inside the block, those of the next test are as before it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    # A logger that caches its configuration would keep it for good.
    configure, uncached = structlog.configure, {"cache_logger_on_first_use": False}
    monkeypatch.setattr(structlog, "configure", lambda **given: configure(**given | uncached))
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level
        for name in root.manager.loggerDict:
            logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
        structlog.reset_defaults()
