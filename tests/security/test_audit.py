"""The dependency audit fails for a known vulnerability, and says loudly when it could not ask."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {
    "vulns": [
        {
            "id": "PYSEC-2026-1",
            "aliases": ["CVE-2026-1"],
            "summary": "invented for this test",
            "affected": [
                {
                    "package": {"name": "sqlalchemy", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
                }
            ],
        }
    ]
}


@contextmanager
def service(status: int, vulnerable: str) -> Iterator[str]:
    """A service that knows one vulnerability of one package; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(KNOWN if asked["package"]["name"] == vulnerable else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="advisories")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(url: str, pins: Path, home: Path) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests/audit.py"), str(pins)],
        env=os.environ | {"AUDIT_URL": url, "HOME": str(home), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "constraints.txt"
    path.write_text("sqlalchemy==2.1.9\nfastapi==0.165.0\n")
    return path


def test_a_known_vulnerability_fails(pins: Path, tmp_path: Path) -> None:
    with service(200, "sqlalchemy") as url:
        code, said = audit(url, pins, tmp_path)
    assert code == 1
    assert "sqlalchemy 2.1.9: PYSEC-2026-1, fixed by 99: VULNERABLE" in said


def test_none_known_passes(pins: Path, tmp_path: Path) -> None:
    with service(200, "django") as url:
        code, said = audit(url, pins, tmp_path)
    assert (code, "2 packages audited, 0 vulnerabilities known" in said) == (0, True)


def test_a_service_that_is_away_is_said_loudly(pins: Path, tmp_path: Path) -> None:
    with service(200, "") as url:
        pass
    code, said = audit(url, pins, tmp_path)
    assert (code, "NOT RUN" in said) == (0, True)


def test_a_service_that_is_ill_is_said_loudly(pins: Path, tmp_path: Path) -> None:
    with service(500, "") as url:
        code, said = audit(url, pins, tmp_path)
    assert (code, "NOT RUN" in said) == (0, True)


def test_pins_that_cannot_be_read_fail(tmp_path: Path) -> None:
    with service(200, "") as url:
        code, said = audit(url, tmp_path / "missing.txt", tmp_path)
    assert (code, "NOT RUN" in said) == (1, False)


def test_every_pin_is_audited() -> None:
    """Each line of the real pins is one that pip-audit can ask about."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert not [line for line in lines if not line.startswith("#") and line.count("==") != 1]
