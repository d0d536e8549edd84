"""Traces: one from a request to the finished analysis; nothing personal in them; nothing at all when off."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient

from api.app import create_app
from tests.collector import Collector, collecting
from tests.conftest import new_key
from tests.fakes import POISON, FakeAnalyser
from tests.logs import left_as_it_was
from tests.stories.installations import Embedded, running, until
from voice import tracing
from voice.db.tables import Feedback
from voice.logs import configure_logs
from voice.runtime import Runtime

SERVER, CONSUMER = 2, 5
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MARKER = "xylophone"
AUTHOR = "ada.marker@example.org"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """This process traced."""
    with collecting() as (endpoint, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        tracing.configure("voice-test")
        yield received
        tracing.close()


@pytest.fixture
def fake(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(sqlite_runtime, "_analyser", FakeAnalyser())
    return sqlite_runtime


def served(runtime: Runtime) -> TestClient:
    client = TestClient(create_app(runtime=runtime))
    client.headers["Authorization"] = f"Bearer {new_key(runtime, 'admin')}"
    return client


def test_one_request_is_one_trace_to_the_kept_result(collector: Collector, fake: Runtime) -> None:
    with served(fake) as client:
        posted = client.post("/v1/feedback", json={"text": "It fails."}, headers={"traceparent": CALLER})
        assert posted.status_code == 202
    fake.pipeline.drain()
    tracing.close()
    [request] = collector.named("POST /v1/feedback")
    [store] = collector.named("store")
    [analyse] = collector.named("analyse")
    [model], [record] = collector.named("model"), collector.named("record")
    assert {span.trace for span in collector.spans} == {CALLER.split("-")[1]}
    assert request.parent == CALLER.split("-")[2]
    assert store.parent == request.id
    assert analyse.parent == request.id
    assert model.parent == record.parent == analyse.id
    assert (request.kind, analyse.kind) == (SERVER, CONSUMER)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/feedback",
        "http.response.status_code": 202,
    }
    assert analyse.attributes == {"voice.rows": 1}
    assert {span.service for span in collector.spans} == {"voice-test"}


def test_a_batch_is_linked_to_every_request_that_sent_its_rows(collector: Collector, fake: Runtime) -> None:
    with served(fake) as client:
        for text in ("one", "two"):
            client.post("/v1/feedback", json={"text": text})
        client.post("/v1/feedback/batch", content=b'{"text": "three"}\n{"text": "four"}')
    fake.pipeline.drain()
    tracing.close()
    requests = [span.id for span in collector.spans if span.kind == SERVER]
    [analyse] = collector.named("analyse")
    assert len(requests) == 3
    assert analyse.attributes == {"voice.rows": 4}
    assert analyse.parent == ""
    assert sorted(analyse.links) == sorted(requests)


def test_nothing_personal_leaves_with_a_trace(collector: Collector, fake: Runtime) -> None:
    with served(fake) as client:
        body = {"text": f"{MARKER} {POISON}", "author": {"email": AUTHOR}, "metadata": {MARKER: MARKER}}
        client.post("/v1/feedback", json=body)
        client.get("/v1/feedback", params={"q": MARKER})
        client.get(f"/{MARKER}")
        client.post("/v1/feedback", json={"text": MARKER, MARKER: 1})
    fake.pipeline.drain()
    tracing.close()
    failed = [(span.name, span.attributes) for span in collector.spans if span.failed]
    assert failed == [("model", {"error.type": "ValueError"})] * fake.settings.max_attempts
    for secret in (MARKER, AUTHOR, "ada.marker"):
        assert secret.encode() not in collector.raw


def test_log_lines_name_the_trace(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    with left_as_it_was(monkeypatch):
        configure_logs("INFO", process="test")
        lines = io.StringIO()
        logging.getLogger().handlers[0].setStream(lines)  # type: ignore[attr-defined]
        log = structlog.get_logger()
        with tracing.span("work", follows=[CALLER]):
            log.info("inside")
        log.info("outside")
    inside, outside = map(json.loads, lines.getvalue().splitlines())
    tracing.close()
    [span] = collector.spans
    assert (inside["trace_id"], inside["span_id"]) == (span.trace, span.id)
    assert "trace_id" not in outside


@pytest.mark.parametrize("header", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5_000, ""])
def test_a_traceparent_that_is_none_begins_a_trace(collector: Collector, fake: Runtime, header: str) -> None:
    with served(fake) as client:
        sent = client.post("/v1/feedback", json={"text": "x"}, headers={"traceparent": header})
        assert sent.status_code == 202
    tracing.close()
    [request] = collector.named("POST /v1/feedback")
    assert request.parent == ""


def test_off_keeps_no_trace_and_imports_nothing(fake: Runtime) -> None:
    with served(fake) as client:
        client.post("/v1/feedback", json={"text": "x"}, headers={"traceparent": CALLER})
    with fake.database.read() as session:
        assert session.query(Feedback).one().trace is None
    code = (
        "import sys, voice.pipeline, voice.tracing as t\n"
        "t.configure('x')\n"
        "with t.span('x') as s: assert s is None and t.traceparent() is None and t.ids() == {}\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_without_the_extra_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with structlog.testing.capture_logs() as lines:
        tracing.configure("voice-test")
    assert [line["event"] for line in lines] == ["tracing_not_installed"]
    with tracing.span("x") as span:
        assert span is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_trace_crosses_from_the_api_to_the_worker(tmp_path: Path) -> None:
    with collecting() as (endpoint, received):
        installation = Embedded(tmp_path)
        installation.env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with running(installation):
            with installation.client() as client:
                assert client.post("/v1/feedback", json={"text": "It fails."}).status_code == 202
            until(lambda: received.named("record") and received.named("store"), "the spans came")
    [request] = received.named("POST /v1/feedback")
    [analyse], [record] = received.named("analyse"), received.named("record")
    assert analyse.parent == request.id
    assert record.parent == analyse.id
    assert (request.service, record.service) == ("voice-api", "voice-worker")
