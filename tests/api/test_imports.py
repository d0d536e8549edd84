"""The API process is light, and everything works without a word to the outside. Each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PREPARE = """
import json, sys, warnings
warnings.simplefilter("error")
from pathlib import Path
from fastapi.testclient import TestClient
from api.app import create_app
from voice.accounts import create_key, find_project
from voice.config import Settings
from voice.runtime import Runtime

settings = Settings(_env_file=None, data_dir=Path(sys.argv[1]))
runtime = Runtime(settings)
runtime.migrate()
with runtime.database.write() as session:
    project_id = find_project(session, "main").id
    _, key = create_key(
        session, project_id=project_id, role="admin", name="t", actor="t", now=runtime.clock()
    )
"""

SERVE_ONE = (
    PREPARE
    + """
with TestClient(create_app(runtime=runtime), headers={"Authorization": f"Bearer {key}"}) as client:
    assert client.post("/v1/feedback", json={"text": "Charged twice"}).status_code == 202
    for path in ("feedback", "themes", "trends", "topics"):
        assert client.get(f"/v1/{path}").status_code == 200
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
)

LOOPBACK_ONLY = """
import socket

refused, loopback = [], {"127.0.0.1", "::1", "localhost", None, ""}

def watched(name, host_of):
    original = getattr(socket, name) if hasattr(socket, name) else getattr(socket.socket, name)
    def call(*args, **kwargs):
        host = host_of(*args)
        if host not in loopback:
            refused.append(f"{name} {host}")
            raise OSError(f"{name} to {host} is not allowed here")
        return original(*args, **kwargs)
    setattr(socket if hasattr(socket, name) else socket.socket, name, call)

def of_address(*args):
    return args[-1][0] if isinstance(args[-1], tuple) else None

for name in ("connect", "connect_ex", "sendto"):
    watched(name, of_address)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    watched(name, lambda host, *_: host[0] if isinstance(host, tuple) else host)

for attempt in (lambda: socket.create_connection(("192.0.2.1", 80)), lambda: socket.getaddrinfo("example.com", 80)):
    try:
        attempt()
    except OSError:
        continue
    raise AssertionError("the guard does not guard")
assert refused == ["create_connection 192.0.2.1", "getaddrinfo example.com"]
refused.clear()
"""

A_DAY = (
    LOOPBACK_ONLY
    + PREPARE
    + """
from tests.api.texts import LOGIN, PAYMENT
from voice.themes.evaluate import evaluate

with TestClient(create_app(runtime=runtime), headers={"Authorization": f"Bearer {key}"}) as client:
    texts = [f"{text}, see https://example.com/order and write to ada@example.com" for text in PAYMENT] + LOGIN
    lines = "\\n".join(json.dumps({"text": text, "language": "en"}) for text in texts)
    assert client.post("/v1/feedback/batch", content=lines).json()["stored"] == 24
    assert runtime.pipeline.drain() == 24
    now = runtime.clock()
    evaluate(
        runtime.database, runtime.analyser, project_id, as_of=now, now=now, window_days=28, window_items=1000
    )
    themes = client.get("/v1/themes").json()["items"]
    assert themes
    found = client.get("/v1/feedback", params={"like": "double payment", "limit": 1}).json()["items"]
    assert found[0]["text"].partition(", see")[0] in PAYMENT
    for path in ("feedback?q=charged", "trends?by=theme", "trends?by=topic&metric=net_sentiment", "status", "audit"):
        assert client.get(f"/v1/{path}").status_code == 200
    assert client.post(f"/v1/themes/{themes[0]['id']}/split?preview=true", json={}).status_code == 200
print(json.dumps({"refused": refused, "themes": len(themes)}))
"""
)

ROOT = Path(__file__).parents[2]


def run(script: str, data_dir: Path) -> Any:
    """The last line that the script prints, decoded."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(data_dir)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_serving_loads_no_training_library(tmp_path: Path) -> None:
    loaded = set(run(SERVE_ONE, tmp_path))
    assert {"fastapi", "sqlalchemy", "voice", "api"} <= loaded
    assert not loaded & {
        "torch",
        "transformers",
        "sentence_transformers",
        "sklearn",
        "hdbscan",
        "onnxruntime",
        "workers",
    }


def test_a_day_without_the_outside(tmp_path: Path) -> None:
    done = run(A_DAY, tmp_path)
    assert done["refused"] == []
    assert done["themes"] >= 2
