"""The line to PostgreSQL: slow, cut in the middle of a transaction, mute, or gone without a word."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from tests.api.helpers import items, post_all, refused
from tests.chaos.books import assert_nothing_twice
from tests.conftest import first_project
from tests.faults.conftest import Line
from tests.recount import assert_exact
from voice.analysis.records import Analysis, Verbatim
from voice.analysis.topics import TopicSpace
from voice.db.dialects import is_database_trouble
from voice.db.tables import ANALYSED, Feedback

pytestmark = pytest.mark.slow

BODY = {"text": "the negative door", "external_id": "1"}
HANG_S = 60.0
"""Far beyond every deadline of the tests: what takes longer hangs."""


def unavailable(line: Line) -> None:
    """503 with a time to come back, for who writes and for who reads."""
    with capture_logs() as logged:
        for answer in (line.client.post("/v1/feedback", json=BODY), line.client.get("/v1/themes")):
            refused(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    assert {one["event"] for one in logged} == {"database_unavailable"}


def assert_books(line: Line, *, rows: int) -> None:
    """All rows are there and analysed, nothing counted twice, and no row is blamed for what the database did."""
    line.runtime.pipeline.drain()
    with line.runtime.database.read() as session:
        found = session.execute(select(Feedback.status, Feedback.attempts, Feedback.alone)).all()
    assert found == [(ANALYSED, 0, False)] * rows
    assert_nothing_twice(line.runtime.database)
    assert_exact(line.runtime.database, first_project(line.runtime))


def test_two_hundred_milliseconds_each_way(line: Line) -> None:
    line.proxy.latency_s = 0.2
    assert line.client.post("/v1/feedback", json=BODY).status_code == 202
    post_all(line.client, ({"text": f"late {n}", "external_id": f"late {n}"} for n in range(60)))
    assert len(items(line.client)) == 61
    line.proxy.latency_s = 0.0
    assert_books(line, rows=61)


@pytest.mark.parametrize(("after", "outcome"), [(False, "stored"), (True, "duplicate")])
def test_a_commit_of_intake_is_cut(line: Line, after: bool, outcome: str) -> None:
    line.proxy.cut_at(b"COMMIT", after=after)
    answer = line.client.post("/v1/feedback", json=BODY)
    refused(answer, 503)
    assert line.proxy.cuts == 1
    again = line.client.post("/v1/feedback", json=BODY)
    assert (again.status_code, again.json()["outcome"]) == (202, outcome)
    assert_books(line, rows=1)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "said", [b"COMMIT", b"UPDATE feedback", b"INSERT INTO analyses", b"INSERT INTO marginals"]
)
def test_a_transaction_of_the_worker_is_cut(line: Line, said: bytes, after: bool) -> None:
    """Wherever it is cut: the next look finishes the rows at once, and none of them is suspect."""
    post_all(line.client, ({"text": f"word {n}"} for n in range(20)))
    line.proxy.cut_at(said, after=after)
    with pytest.raises(OperationalError) as raised:
        line.runtime.pipeline.drain()
    assert is_database_trouble(raised.value)
    assert line.proxy.cuts == 1
    assert_books(line, rows=20)


@pytest.mark.parametrize("after", [False, True])
def test_the_commit_of_results_is_cut(line: Line, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """The worker cannot know whether its results were kept: kept or read again, they count once."""
    post_all(line.client, ({"text": f"word {n}"} for n in range(20)))
    read = line.runtime.analyser.read

    def read_and_cut(verbatims: Sequence[Verbatim], topics: TopicSpace) -> list[Analysis]:
        monkeypatch.setattr(line.runtime.analyser, "read", read)
        line.proxy.cut_at(b"COMMIT", after=after)
        return read(verbatims, topics)

    monkeypatch.setattr(line.runtime.analyser, "read", read_and_cut)
    with pytest.raises(OperationalError):
        line.runtime.pipeline.drain()
    assert line.proxy.cuts == 1
    assert_books(line, rows=20)


def test_every_connection_is_cut_again_and_again(line: Line) -> None:
    accepted: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        for n in range(30):
            waiting = [
                pool.submit(line.client.post, "/v1/feedback", json=BODY | {"external_id": f"{n} {k}"})
                for k in range(4)
            ]
            line.proxy.cut()
            for k, future in enumerate(waiting):
                answer = future.result(HANG_S)
                if answer.status_code == 202:
                    accepted[f"{n} {k}"] = answer.json()["id"]
                else:
                    refused(answer, 503)
    with line.runtime.database.read() as session:
        stored = dict(session.execute(select(Feedback.external_id, Feedback.id)).all())
    assert accepted
    assert accepted.items() <= stored.items()
    assert_books(line, rows=len(stored))


@pytest.mark.parametrize("fault", ["blackhole", "mute", "refusing"])
def test_the_database_does_not_answer(line: Line, fault: str) -> None:
    assert line.client.post("/v1/feedback", json=BODY).status_code == 202
    harm = getattr(line.proxy, fault)
    with ThreadPoolExecutor(1) as pool, harm():
        pool.submit(unavailable, line).result(HANG_S)
        with pytest.raises(OperationalError):
            pool.submit(line.runtime.pipeline.drain).result(HANG_S)
    answers = [line.client.post("/v1/feedback", json=BODY).status_code for _ in range(2)]
    assert answers[-1] == 202, answers
    assert_books(line, rows=1)


@pytest.mark.parametrize("fault", ["blackhole", "mute"])
def test_the_line_dies_while_a_statement_runs(line: Line, fault: str) -> None:
    def wait() -> None:
        with line.runtime.database.read() as session:
            session.execute(text("SELECT pg_sleep(1)"))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(wait)
        time.sleep(0.5)
        with getattr(line.proxy, fault)(), pytest.raises(OperationalError) as raised:
            running.result(HANG_S)
    assert is_database_trouble(raised.value)
    wait()
