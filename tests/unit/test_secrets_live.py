"""A running Voice whose root secret is rotated, also by rotations that are killed, while feedback comes in."""

import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.stories.installations import BIN, Embedded, embedded, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLED, WHOLE = 6, 2
AT_LEAST = 40


class Sender(threading.Thread):
    """Sends feedback of one new author after another and reads each again, until it is stopped."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__()
        self._client = client
        self._over = threading.Event()
        self.sent: dict[str, str] = {}
        self.faults: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            author = f"author-{len(self.sent)}"
            body = {"text": "it is slow", "author": {"id": author, "name": f"Name of {author}"}}
            stored = self._client.post("/v1/feedback", json=body)
            if stored.status_code != 202:
                self.faults.append(stored.text)
                continue
            self.sent[stored.json()["id"]] = author
            self._read(stored.json()["id"], author)

    def _read(self, feedback_id: str, author: str) -> None:
        item = self._client.get(f"/v1/feedback/{feedback_id}")
        if item.status_code != 200 or item.json()["author"]["id"] != author:
            self.faults.append(item.text)

    def stop(self) -> None:
        self._over.set()
        self.join()


def test_feedback_comes_in_and_is_read_while_the_root_is_rotated(tmp_path: Path) -> None:
    with embedded(tmp_path) as installation, installation.client() as client:
        file = installation.data / "secret.key"
        first = file.read_text()
        sender = Sender(client)
        sender.start()
        try:
            left = [_rotate_and_kill(installation, after_s=0.01 * i) for i in range(KILLED)]
            assert any(left), "no kill came in the middle"
            for _ in range(WHOLE):
                done = installation.run("voice", "secrets", "rotate")
                assert done.returncode == 0, done.stderr
        finally:
            sender.stop()
        assert sender.faults == []
        assert len(sender.sent) >= AT_LEAST
        [last] = file.read_text().split()
        assert last not in first
        status = installation.run("voice", "secrets", "status").stdout
        assert len([line for line in status.splitlines() if " newest " in line]) == 1
        assert " older " not in status
        assert "not known" not in status
        for feedback_id, author in sender.sent.items():
            assert client.get(f"/v1/feedback/{feedback_id}").json()["author"]["id"] == author
        body = {"text": "again", "author": {"id": "author-0"}}
        assert client.post("/v1/feedback", json=body).status_code == 202
        known = client.post("/v1/people/export", json={"author_id": "author-0"}).json()
        assert len(known["feedback"]) == 2, "the same author is the same person under another root"


def _rotate_and_kill(installation: Embedded, *, after_s: float) -> bool:
    """Kill a rotation so long after it has written its new root; whether it was left unfinished."""
    file = installation.data / "secret.key"
    process = subprocess.Popen(
        [BIN / "voice", "secrets", "rotate"],
        env=installation.env,
        cwd=installation.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len(file.read_text().split()) > 1 or process.poll() is not None, "the rotation begins")
    time.sleep(after_s)
    process.kill()
    process.wait()
    return len(file.read_text().split()) > 1
