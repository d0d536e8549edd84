"""Structured logs: one JSON object a line, never a word of feedback."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from voice import tracing


def configure_logs(level: str, *, process: str) -> None:
    """Send every log line of this process to stderr as JSON. `process` is its name in each line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
        *([_traced] if tracing.wanted() else []),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_parameters,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "httpx", "celery.app.trace", "celery.worker.strategy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _named(process: str) -> Processor:
    def add(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["process"] = process
        return line

    return add


def _traced(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line.update(tracing.ids())
    return line


def _without_parameters(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Exceptions become their type and place: a database error's text would quote the row, and so the feedback."""
    exc_info = line.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple) and exc_info[0] is not None:
        line["error"] = exc_info[0].__name__
        for quoted in (repr(exc_info[1]), str(exc_info[1])):  # as Celery and asyncio do in their messages
            line["event"] = (
                str(line["event"]).replace(quoted, exc_info[0].__name__) if quoted else line["event"]
            )
        frames = []
        trace = exc_info[2]
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        line["trace"] = frames[-8:]
    line.pop("exception", None)
    return line
