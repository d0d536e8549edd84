"""Group commit: many intake requests become one durable transaction."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from voice import metrics
from voice.db.dialects import explain_failure, is_database_trouble
from voice.db.session import Database
from voice.errors import QueueFull, Unavailable, VoiceError

log = structlog.get_logger()

_PAUSE, _LONGEST_PAUSE = 0.0005, 0.005

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Handler = Callable[[Session, Sequence[Request]], list[Answer | VoiceError]]


class Writer(Generic[Request, Answer]):
    """One thread that stores whatever waits, in groups, and answers after the commit.

    A failed group is retried one request at a time, so a poisoned request fails alone. The queue is bounded.
    """

    def __init__(
        self,
        database: Database,
        handler: Handler[Request, Answer],
        *,
        max_waiting: int,
        max_group: int = 500,
        weight: Callable[[Request], int] = lambda _: 1,
        after_commit: Callable[[], None] = lambda: None,
        around: Callable[[Sequence[Request]], AbstractContextManager[object]] = lambda _: nullcontext(),
    ) -> None:
        self._database = database
        self._handler = handler
        self._weight = weight
        self._max_group = max_group
        self._after_commit = after_commit
        self._around = around
        self._waiting: queue.Queue[tuple[Request, Future[Answer]] | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._storing: list[tuple[Request, Future[Answer]]] = []
        self._closed = False
        self._closing = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Store what waits, then stop."""
        with self._closing:  # what was accepted before lies in the queue before the end mark
            self._closed = True
        self._waiting.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(self, request: Request) -> Future[Answer]:
        """The answer, once committed. Raises Busy when the queue is full, Unavailable when closed."""
        future: Future[Answer] = Future()
        with self._closing:
            if not self.alive:
                raise Unavailable("the writer is not running; try again shortly")
            try:
                self._waiting.put_nowait((request, future))
            except queue.Full:
                raise QueueFull("too many requests are waiting to be stored", retry_after=1) from None
        return future

    def _work(self) -> None:
        try:
            self._serve()
        finally:  # whatever ended it, nobody waits for ever
            self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        with self._closing:
            self._closed = True
        rest = self._storing
        while not self._waiting.empty():
            if (item := self._waiting.get_nowait()) is not None and item[1].set_running_or_notify_cancel():
                rest.append(item)
        for _, future in rest:
            if not future.done():
                future.set_exception(Unavailable("the writer broke off; try again"))

    def _serve(self) -> None:
        company = False
        while (first := self._waiting.get()) is not None:
            if company:
                self._await_company()
            group, last = self._gather(first)
            company = len(group) > 1
            # From here on nobody can cancel; whoever did before gets no answer and is not stored.
            self._storing = [item for item in group if item[1].set_running_or_notify_cancel()]
            if self._storing:
                self._store(self._storing)
            self._storing = []
            if last:
                return

    def _await_company(self) -> None:
        """Those who were answered together ask again together: the first of them waits while others keep coming.

        A lone caller never waits.
        """
        until = time.monotonic() + _LONGEST_PAUSE
        waiting = -1
        while waiting < self._waiting.qsize() < self._max_group and time.monotonic() < until:
            waiting = self._waiting.qsize()
            time.sleep(_PAUSE)

    def _gather(
        self, first: tuple[Request, Future[Answer]]
    ) -> tuple[list[tuple[Request, Future[Answer]]], bool]:
        group, weight = [first], self._weight(first[0])
        while weight < self._max_group:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
            weight += self._weight(item[0])
        return group, False

    def _store(self, group: list[tuple[Request, Future[Answer]]], *, again: bool = False) -> None:
        requests = [request for request, _ in group]
        metrics.WRITER_GROUP.observe(len(requests))
        try:
            with (
                self._around(requests),
                metrics.WRITER_SECONDS.time(),
                self._database.write() as session,
            ):
                answers = self._handler(session, requests)
        except Exception as error:
            if isinstance(error, IntegrityError) and len(group) == 1 and not again:
                self._store(group, again=True)  # another process stored the same key first: now it is seen
            else:
                self._store_alone(group, error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if isinstance(answer, VoiceError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        try:
            self._after_commit()  # after the answers, which need not wait for it
        except Exception as error:  # the rows are there, and the sweep finds them
            metrics.DOORBELL_FAILURES.inc()
            log.warning("doorbell_failed", error=type(error).__name__)

    def _store_alone(self, group: list[tuple[Request, Future[Answer]]], error: Exception) -> None:
        if len(group) > 1 and not is_database_trouble(error):
            for item in group:
                self._store([item])
            return
        answer: Exception = error
        if is_database_trouble(error):
            log.warning("database_unavailable", requests=len(group), error=explain_failure(error))
            answer = Unavailable(f"the database cannot store now ({explain_failure(error)}); try again")
        for _, future in group:
            future.set_exception(answer)
