"""The group-commit writer: who shares a transaction, who fails alone, what happens when it cannot keep up."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest
import structlog
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from tests.conftest import first_project
from voice.clock import utc_now
from voice.db import dialects
from voice.db.tables import Source
from voice.db.writer import Writer
from voice.errors import Busy, Invalid, QueueFull, Unavailable, VoiceError
from voice.ids import new_id
from voice.runtime import Runtime

WAIT_S = 30
MakeWriter = Callable[..., "Recorder"]


class Recorder:
    """A writer that stores slugs as sources, remembers its groups, and can be held up between two groups."""

    def __init__(self, runtime: Runtime, **options: int) -> None:
        self.groups: list[list[str]] = []
        self.commits = 0
        self.go, self.holding = threading.Event(), threading.Event()
        self.go.set()
        self.project = first_project(runtime)
        self.database = runtime.database
        self.writer: Writer[str, str] = Writer(
            runtime.database,
            self._handle,
            max_waiting=options.pop("max_waiting", 100),
            after_commit=self._rang,
            **options,
        )
        self.writer.start()

    def _rang(self) -> None:
        self.commits += 1

    def _handle(self, session: Session, slugs: Sequence[str]) -> list[str | VoiceError]:
        self.holding.set()
        assert self.go.wait(WAIT_S)
        self.groups.append(list(slugs))
        rows = [
            {
                "id": new_id(),
                "project_id": self.project,
                "slug": slug,
                "channel": "api",
                "created_at": utc_now(),
            }
            for slug in slugs
            if slug != "refused"
        ]
        session.execute(insert(Source), rows) if rows else None
        if "poison" in slugs:
            raise ValueError("poison")
        return [Invalid("no") if slug == "refused" else slug.upper() for slug in slugs]

    def hold(self) -> Future[str]:
        """Make the writer wait inside a group of one; what is submitted now will wait together."""
        self.go.clear()
        self.holding.clear()
        first = self.writer.submit("first")
        assert self.holding.wait(WAIT_S)
        return first

    def stored(self) -> set[str]:
        with self.database.read() as session:
            return set(session.scalars(select(Source.slug)))


@pytest.fixture
def recorder(sqlite_runtime: Runtime) -> Iterator[MakeWriter]:
    made: list[Recorder] = []

    def make(**options: int) -> Recorder:
        made.append(Recorder(sqlite_runtime, **options))
        return made[-1]

    yield make
    for one in made:
        one.go.set()
        if one.writer.alive:
            one.writer.close()


def test_what_waits_together_is_committed_together(recorder: MakeWriter) -> None:
    it = recorder()
    first = it.hold()
    futures = [it.writer.submit(f"s{n}") for n in range(5)]
    assert it.writer.waiting == 5
    it.go.set()
    assert [future.result(WAIT_S) for future in futures] == ["S0", "S1", "S2", "S3", "S4"]
    assert first.result(WAIT_S) == "FIRST"
    assert it.groups == [["first"], ["s0", "s1", "s2", "s3", "s4"]]
    assert it.writer.waiting == 0


def test_an_answer_means_that_the_row_can_be_read(recorder: MakeWriter) -> None:
    it = recorder()
    for n in range(20):
        it.writer.submit(f"s{n}").result(WAIT_S)
        assert f"s{n}" in it.stored()


def test_the_bell_is_rung_once_a_commit(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    futures = [it.writer.submit(f"s{n}") for n in range(5)]
    it.go.set()
    for future in futures:
        future.result(WAIT_S)
    it.writer.close()
    assert it.commits == 2


def test_nobody_waits_for_the_bell(sqlite_runtime: Runtime) -> None:
    rung, answered = threading.Event(), threading.Event()

    def ring() -> None:
        rung.set()
        assert answered.wait(WAIT_S)

    writer: Writer[str, str] = Writer(
        sqlite_runtime.database, lambda _session, group: list(group), max_waiting=9, after_commit=ring
    )
    writer.start()
    assert writer.submit("one").result(WAIT_S) == "one"
    answered.set()
    writer.close()
    assert rung.is_set()


def test_a_group_ends_at_its_weight(sqlite_runtime: Runtime) -> None:
    groups: list[list[int]] = []
    go = threading.Event()

    def handle(_session: Session, group: Sequence[int]) -> list[int | VoiceError]:
        assert go.wait(WAIT_S)
        groups.append(list(group))
        return list(group)

    writer: Writer[int, int] = Writer(
        sqlite_runtime.database, handle, max_waiting=9, max_group=10, weight=lambda n: n
    )
    writer.start()
    futures = [writer.submit(n) for n in (10, 4, 4, 4, 9, 30, 1)]
    go.set()
    for future in futures:
        future.result(WAIT_S)
    writer.close()
    assert groups == [[10], [4, 4, 4], [9, 30], [1]]


def test_a_poisoned_request_fails_alone(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    futures = {slug: it.writer.submit(slug) for slug in ("a", "poison", "b")}
    it.go.set()
    assert [futures[slug].result(WAIT_S) for slug in "ab"] == ["A", "B"]
    with pytest.raises(ValueError, match="poison"):
        futures["poison"].result(WAIT_S)
    assert it.stored() == {"first", "a", "b"}
    assert it.groups == [["first"], ["a", "poison", "b"], ["a"], ["poison"], ["b"]]
    assert it.writer.submit("next").result(WAIT_S) == "NEXT"


def test_a_request_that_breaks_a_constraint_fails_alone(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    futures = [it.writer.submit(slug) for slug in ("same", "same", "other")]
    it.go.set()
    assert futures[0].result(WAIT_S) == "SAME"
    with pytest.raises(Exception, match="UNIQUE"):
        futures[1].result(WAIT_S)
    assert futures[2].result(WAIT_S) == "OTHER"


def test_a_refusal_spoils_nothing(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    good, refused = it.writer.submit("good"), it.writer.submit("refused")
    it.go.set()
    assert good.result(WAIT_S) == "GOOD"
    with pytest.raises(Invalid):
        refused.result(WAIT_S)
    assert it.groups[1:] == [["good", "refused"]]


def test_a_full_queue_refuses_and_keeps_what_it_has(recorder: MakeWriter) -> None:
    it = recorder(max_waiting=2)
    first = it.hold()
    waiting = [it.writer.submit("one"), it.writer.submit("two")]
    with pytest.raises(Busy) as busy:
        it.writer.submit("three")
    assert busy.value.retry_after >= 1
    it.go.set()
    assert [future.result(WAIT_S) for future in (first, *waiting)] == ["FIRST", "ONE", "TWO"]
    assert it.writer.submit("four").result(WAIT_S) == "FOUR"
    assert it.stored() == {"first", "one", "two", "four"}


def test_whoever_gave_up_waiting_is_not_stored(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    gone, stays = it.writer.submit("gone"), it.writer.submit("stays")
    assert gone.cancel()
    it.go.set()
    stays.result(WAIT_S)
    assert it.stored() == {"first", "stays"}


def test_closing_stores_what_waits_and_takes_nothing_more(recorder: MakeWriter) -> None:
    it = recorder()
    it.hold()
    futures = [it.writer.submit(f"s{n}") for n in range(10)]
    closing = threading.Thread(target=it.writer.close)
    closing.start()
    while it.writer.alive:
        pass
    with pytest.raises(Unavailable):
        it.writer.submit("late")
    it.go.set()
    closing.join(WAIT_S)
    assert all(future.done() for future in futures)
    assert it.stored() == {"first", *(f"s{n}" for n in range(10))}


def test_every_accepted_request_is_answered_when_closing_meets_submitting(recorder: MakeWriter) -> None:
    it = recorder(max_waiting=10_000)
    accepted: list[Future[str]] = []

    def submit(name: str) -> None:
        for n in range(10_000):
            try:
                accepted.append(it.writer.submit(f"{name}{n}"))
            except QueueFull:
                continue  # refused, and so not accepted
            except Unavailable:
                return

    threads = [threading.Thread(target=submit, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    while len(accepted) < 50:
        pass
    it.writer.close()
    for thread in threads:
        thread.join(WAIT_S)
    assert all(future.done() for future in accepted)
    assert len(it.stored()) == len(accepted)


def test_a_locked_database_answers_unavailable_and_recovers(
    sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = tuple(p for p in dialects._SQLITE_PRAGMAS if not p.startswith("busy_timeout"))
    monkeypatch.setattr(dialects, "_SQLITE_PRAGMAS", (*patient, "busy_timeout=50"))
    sqlite_runtime.database.dispose()
    it = Recorder(sqlite_runtime)
    with sqlite_runtime.database.write() as session:
        session.execute(text("SELECT 1"))  # BEGIN IMMEDIATE: the write lock is ours
        with pytest.raises(Unavailable, match="SQLITE_BUSY") as unavailable:
            it.writer.submit("a secret word").result(WAIT_S)
    assert "secret" not in unavailable.value.detail
    assert it.writer.alive
    assert it.writer.submit("after").result(WAIT_S) == "AFTER"
    it.writer.close()
    assert it.stored() == {"after"}


def test_a_doorbell_that_cannot_be_rung_stops_nothing(
    recorder: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = recorder()
    monkeypatch.setattr(it.writer, "_after_commit", lambda: 1 / 0)
    with structlog.testing.capture_logs() as lines:
        assert it.writer.submit("one").result(WAIT_S) == "ONE"
        assert it.writer.submit("two").result(WAIT_S) == "TWO"
        it.writer.close()
    assert [(line["event"], line["error"]) for line in lines] == [
        ("doorbell_failed", "ZeroDivisionError")
    ] * 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whatever_ends_the_writer_nobody_waits_for_ever(recorder: MakeWriter) -> None:
    it = recorder(max_waiting=3)
    first = it.hold()
    waiting = [it.writer.submit(slug) for slug in ("one", "two", "three")]
    assert waiting[1].cancel()
    it.groups = None  # type: ignore[assignment]
    it.writer._store_alone = lambda *_: sys.exit()  # type: ignore[method-assign]
    closing = threading.Thread(target=it.writer.close)
    closing.start()  # there is no room for its end mark
    it.go.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    for future in (first, waiting[0], waiting[2]):
        with pytest.raises(Unavailable):
            future.result(WAIT_S)
    with pytest.raises(Unavailable):
        it.writer.submit("late")
