"""A worker's own /metrics: off by default, and never a reason for a worker to end."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from voice import metrics
from voice.config import Settings
from workers import exposition, lifecycle


def settings(port: int) -> Settings:
    return Settings(_env_file=None, metrics_port=port)  # type: ignore[call-arg]


def test_nothing_is_shared_or_served_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metrics.SHARED_FOLDER, raising=False)
    monkeypatch.setattr("prometheus_client.start_http_server", lambda *_: 1 / 0)
    exposition.share(settings(0))
    exposition.serve(settings(0))
    assert metrics.SHARED_FOLDER not in os.environ


def test_a_folder_is_made_for_the_pool_and_removed_at_the_end(tmp_path: Path) -> None:
    code = "import os, workers.app; print(os.environ['PROMETHEUS_MULTIPROC_DIR'], flush=True)"
    env = {
        **os.environ,
        "VOICE_METRICS_PORT": "9100",
        "VOICE_DATA_DIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    folder = Path(ran.stdout.strip())
    assert folder.parent == tmp_path
    assert not folder.exists()


def test_a_taken_port_costs_the_metrics_and_not_the_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with structlog.testing.capture_logs() as lines:
            exposition.serve(settings(port))
    assert [(line["event"], line["port"]) for line in lines] == [("metrics_not_served", port)]


@pytest.mark.parametrize(("slot", "name"), [(1, "worker-1"), (None, None)])
def test_a_process_of_a_pool_is_named_by_its_place(
    monkeypatch: pytest.MonkeyPatch, slot: int | None, name: str | None
) -> None:
    monkeypatch.setattr(metrics, "_identity", [""])
    monkeypatch.setattr(lifecycle, "_open", [SimpleNamespace()])
    lifecycle.forget(slot)
    assert metrics.identity() == (name or str(os.getpid()))
    assert lifecycle._open == []
