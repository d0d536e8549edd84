"""People who keep sending while things break, remember what was promised to them, and come back when told to."""

import itertools
import threading
from collections import Counter
from types import TracebackType
from typing import Self

import httpx
from sqlalchemy import func, select, text

from tests.chaos.books import assert_nothing_twice
from tests.recount import assert_exact
from tests.stories.installations import Installation, until
from voice.db.session import Database
from voice.db.tables import ANALYSED, Feedback

QUICK = {"VOICE_LEASE_SECONDS": "5", "VOICE_OTHER_PER_MINUTE": "1000000"}
"""Settings of an installation on its bad days: rows of a lost worker come back soon, and senders are not counted."""
PAUSE_S = 0.1
PATIENCE_S = 100.0
"""No answer takes longer than the longest deadline of the product, 70 s, and what it adds up with."""


class Traffic:
    """Sends numbered feedback from several threads, each piece until it is accepted.

    Every refusal must be a 429 or 503 as problem+json that says when to come back; anything else, a connection that
    breaks included, is a fault and ends the test.
    """

    def __init__(self, installation: Installation, *, senders: int = 3, words: str = "word") -> None:
        self._installation = installation
        self._numbers = itertools.count()
        self._going = threading.Event()
        self._threads = [threading.Thread(target=self._send_on, daemon=True) for _ in range(senders)]
        self._words = words
        self.accepted: dict[str, str] = {}
        """External id → the id that was answered."""
        self.refused: Counter[int] = Counter()
        self.faults: list[str] = []
        self.slowest_s = 0.0

    def __enter__(self) -> Self:
        self._going.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._going.clear()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if kind is None:
            assert not any(thread.is_alive() for thread in self._threads), "a request hangs"
            assert not self.faults, self.faults[:3]

    def accepts(self, more: int = 5) -> None:
        """Wait until some more were accepted."""
        wanted = len(self.accepted) + more
        until(lambda: self.faults or len(self.accepted) >= wanted, "feedback is accepted")

    def refuses(self, more: int = 3, status: int = 503) -> None:
        """Wait until some more were refused."""
        wanted = self.refused[status] + more
        until(lambda: self.faults or self.refused[status] >= wanted, f"{status} is answered")

    def _send_on(self) -> None:
        with self._installation.client() as client:
            client.timeout = PATIENCE_S
            while self._going.is_set():
                number = f"{threading.get_ident()} {next(self._numbers)}"
                try:
                    self._send(client, number)
                except (httpx.HTTPError, AssertionError) as error:
                    self.faults.append(f"{type(error).__name__}: {error}")
                    return

    def _send(self, client: httpx.Client, number: str) -> None:
        body = {"text": f"{self._words} {number}", "external_id": number}
        while self._going.is_set():
            answer = client.post("/v1/feedback", json=body)
            self.slowest_s = max(self.slowest_s, answer.elapsed.total_seconds())
            if answer.status_code == 202:
                self.accepted[number] = answer.json()["id"]
                threading.Event().wait(PAUSE_S)
                return
            assert answer.status_code in (429, 503), f"{answer.status_code} {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            self.refused[answer.status_code] += 1
            threading.Event().wait(PAUSE_S)


def assert_promises(installation: Installation, database_url: str, traffic: Traffic) -> None:
    """All is analysed without hands; each accepted piece is there once, under its id; nothing counted twice."""
    with installation.client() as client:
        until(lambda: _pending(client) == 0, "everything is analysed")
    database = Database(database_url)
    try:
        with database.read() as session:
            rows = session.execute(select(Feedback.external_id, Feedback.id, Feedback.status)).all()
            [project] = session.execute(text("SELECT id FROM projects")).scalars()
        stored = {external_id: row_id for external_id, row_id, _ in rows}
        assert traffic.accepted
        assert traffic.accepted.items() <= stored.items(), "an accepted piece is lost"
        assert len(stored) == len(rows), "a piece is stored twice"
        assert {status for _, _, status in rows} == {ANALYSED}
        assert_nothing_twice(database)
        assert_exact(database, project)
    finally:
        database.dispose()


def rows_stored(database_url: str) -> int:
    """How much feedback there is."""
    database = Database(database_url)
    try:
        with database.read() as session:
            return session.scalar(select(func.count()).select_from(Feedback)) or 0
    finally:
        database.dispose()


def _pending(client: httpx.Client) -> int | None:
    answer = client.get("/v1/status")
    pending: int | None = answer.json()["pending"] if answer.status_code == 200 else None
    return pending
