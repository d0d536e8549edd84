"""A client as the documentation asks for it: it sends again what was not acknowledged, and remembers what was."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.books import Promise

PATIENCE_S = 20.0
LINES = 120
UPDATES = 15
WORDS = {
    "billing": "charged twice card refund invoice payment money statement",
    "login": "cannot log in password reset link locked account code",
    "sync": "calendar sync broken events missing phone laptop duplicate",
    "speed": "slow loading app freezes minutes waiting screen spinner",
    "praise": "love the new week view great work thanks team",
}


@dataclass
class Piece:
    """One piece to be sent: until it is acknowledged, always with the same content."""

    n: int
    body: dict[str, Any]
    key: str | None = None
    """The Idempotency-Key of a piece without an external id."""
    version: int = 0

    def content(self) -> dict[str, Any]:
        body = self.body | {"metadata": {"n": self.n, "version": self.version}}
        if self.version and "text" in body:
            body["text"] += f", seen {self.version} times"
        return body

    def trust_in_key(self) -> None:
        """From now on nothing but an Idempotency-Key keeps it from being stored twice."""
        del self.body["external_id"]
        self.key = f"key-{self.n}"


@dataclass
class Sender:
    """Several threads, each with its own pieces. `promises` holds what was acknowledged, by the piece's number."""

    port: int
    key: str
    seed: int
    goal: int
    """Pieces from which on only single ones are sent."""
    threads: int = 3
    pause_s: float = 0.0
    """Between two requests of one thread."""
    stop: threading.Event = field(default_factory=threading.Event)
    promises: dict[int, Promise] = field(default_factory=dict)
    acks: int = 0
    failures: int = 0
    """Requests without an acknowledgement: each is sent again."""
    faults: list[str] = field(default_factory=list)
    """Answers that a well-behaved client should never get."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def sending(self) -> Iterator["Sender"]:
        """Send in the background; at the end stop sending new pieces and wait until every piece is acknowledged."""
        workers = [
            threading.Thread(target=self._send_all, args=(i,), name=f"sender-{i}")
            for i in range(self.threads)
        ]
        for worker in workers:
            worker.start()
        try:
            yield self
        finally:
            self.stop.set()
            for worker in workers:
                worker.join()

    def _send_all(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        pieces = _pieces(dice, first=number * 10_000_000)
        mine: list[Piece] = []
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=PATIENCE_S
        ) as client:
            while not self.stop.is_set():
                if mine and dice.random() < 0.15:
                    batch = dice.sample(mine, min(UPDATES, len(mine)))
                    for again in batch:
                        again.version += 1
                else:
                    many = dice.random() < 0.5 and len(self.promises) < self.goal
                    batch = [next(pieces) for _ in range(LINES if many else 1)]
                    if not many and dice.random() < 0.5:
                        batch[0].trust_in_key()
                    mine += [piece for piece in batch if piece.key is None]
                self._until_acknowledged(client, batch)
                self.stop.wait(self.pause_s)

    def _until_acknowledged(self, client: httpx.Client, batch: list[Piece]) -> None:
        """Send these pieces until each is acknowledged; gives up only after minutes without any answer."""
        waiting, end = batch, time.monotonic() + 300
        while waiting:
            try:
                answers = _post_one(client, waiting[0]) if len(batch) == 1 else _post_batch(client, waiting)
            except httpx.TransportError:
                answers = [None] * len(waiting)
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (429, 503):
                    self.faults.append(f"{error.response.status_code} {error.response.text[:200]}")
                answers = [None] * len(waiting)
            with self._lock:
                for piece, feedback_id in zip(waiting, answers, strict=True):
                    if feedback_id is not None:
                        self._note(piece, feedback_id)
            waiting = [piece for piece, answer in zip(waiting, answers, strict=True) if answer is None]
            if waiting:
                self.failures += 1
                if time.monotonic() > end:
                    self.faults.append("nothing was acknowledged for minutes")
                    return
                time.sleep(0.3)

    def _note(self, piece: Piece, feedback_id: str) -> None:
        self.acks += 1
        known = self.promises.setdefault(piece.n, Promise(piece.n, feedback_id))
        known.version = piece.version
        if known.id != feedback_id:
            self.faults.append(f"piece {piece.n} was acknowledged as {known.id} and as {feedback_id}")


def _post_one(client: httpx.Client, piece: Piece) -> list[str | None]:
    headers = {} if piece.key is None else {"Idempotency-Key": piece.key}
    answer = client.post("/v1/feedback", json=piece.content(), headers=headers).raise_for_status()
    return [answer.json()["id"]]


def _post_batch(client: httpx.Client, pieces: list[Piece]) -> list[str | None]:
    """One answer a piece; None for a line that says that it could not be stored now."""
    body = "\n".join(json.dumps(piece.content()) for piece in pieces)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = client.post("/v1/feedback/batch", content=body, headers=headers).raise_for_status()
    return [line["id"] for line in answer.json()["lines"]]


def _pieces(dice: random.Random, *, first: int) -> Iterator[Piece]:
    """Pieces without end: some with authors, some ratings, some that share a survey response."""
    n = first
    while True:
        n += 1
        about = dice.choice(list(WORDS))
        words = dice.sample(WORDS[about].split(), 6)
        body: dict[str, Any] = {
            "text": f"{' '.join(words)} {dice.choice('abcdefghijklmnopqrstuvwxyz')}",
            "channel": dice.choice(("ticket", "survey", "review")),
            "source": dice.choice(("helpdesk", "shop", "forum")),
            "version": dice.choice(("5.0", "5.1", "5.2")),
            "external_id": f"piece-{n}",
        }
        if dice.random() < 0.3:
            body["author"] = {"id": f"user-{dice.randrange(500)}", "segment": dice.choice(("free", "pro"))}
        if dice.random() < 0.3:
            body |= {"rating": dice.randrange(11), "rating_scale": "nps"}
            if dice.random() < 0.5:
                body |= {"response_id": f"response-{n // 50}", "source": "shop"}
            elif dice.random() < 0.1:
                del body["text"]
        yield Piece(n, body)
