"""Traces from a request to the finished analysis, with OpenTelemetry: the extra `voice[otel]`.

Off, and nothing is imported, unless `OTEL_EXPORTER_OTLP_ENDPOINT` is set. A span holds names, counts and kinds of
errors; never a word of feedback, an author, a query or an exception's message. The provider is Voice's own and not the
global one, so that libraries which write such things into spans stay silent.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import structlog

from voice import __version__

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
MOST_LINKS = 128
"""What the SDK keeps of one span's links by default (OTEL_SPAN_LINK_COUNT_LIMIT)."""

log = structlog.get_logger()

_provider: list[Any] = []


def wanted() -> bool:
    """True when the environment names a collector and does not disable the SDK."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in _ENDPOINTS)


def configure(service: str) -> None:
    """Trace this process from now on, if wanted. Call it after any fork. `OTEL_SERVICE_NAME` outranks `service`."""
    if _provider or not wanted():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("tracing_not_installed")
        return
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": __version__})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _provider.append(provider)


def is_on() -> bool:
    return bool(_provider)


def close() -> None:
    """Send what waits, then stop tracing."""
    while _provider:
        _provider.pop().shutdown()


def span(
    name: str, *, kind: str = "internal", follows: Iterable[str | None] = (), rows: int | None = None
) -> AbstractContextManager[Any]:
    """A span around a block; it gives the span, or None when tracing is off.

    `follows`: traceparents (W3C) of what this work is for. One of them is the parent; several become links, since a
    batch belongs to many requests. `kind` is a name of OpenTelemetry's SpanKind.
    """
    attributes = {} if rows is None else {"voice.rows": rows}
    return _span(name, kind, follows, attributes) if _provider else nullcontext()


@contextmanager
def _span(name: str, kind: str, follows: Iterable[str | None], attributes: dict[str, int]) -> Iterator[Any]:
    from opentelemetry.trace import Link, SpanKind, StatusCode, get_current_span

    contexts = [_context(one) for one in dict.fromkeys(follows) if one is not None]
    tracer = _provider[0].get_tracer("voice", __version__)
    with tracer.start_as_current_span(
        name,
        context=contexts[0] if len(contexts) == 1 else None,
        kind=SpanKind[kind.upper()],
        links=[Link(get_current_span(one).get_span_context()) for one in contexts[:MOST_LINKS]]
        if len(contexts) > 1
        else None,
        attributes=attributes,
        record_exception=False,  # its message may quote a row
        set_status_on_exception=False,
    ) as live:
        try:
            yield live
        except BaseException as error:
            live.set_status(StatusCode.ERROR)
            live.set_attribute("error.type", type(error).__name__)
            raise


def _context(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def traceparent() -> str | None:
    """The current span in the form of a W3C `traceparent` header (55 characters); None outside of any."""
    if not _provider:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, for log lines; nothing outside of any."""
    current = traceparent()
    if current is None:
        return {}
    _, trace_id, span_id, _ = current.split("-")
    return {"trace_id": trace_id, "span_id": span_id}
