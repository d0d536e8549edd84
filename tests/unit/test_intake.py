"""Intake: what is already there is recognised, people are kept once, and a survey response's rating counts once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from tests.conftest import first_project
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.clock import utc_now
from voice.db.tables import Event, Feedback, Person, Response, Source
from voice.feedback import intake
from voice.feedback.intake import Arrival
from voice.feedback.outcomes import Stored
from voice.feedback.requests import Idempotent, IntakeHandler, IntakeRequest
from voice.feedback.submission import Submission
from voice.people import erase, find_people
from voice.pipeline import Pipeline
from voice.runtime import Runtime
from voice.trends import recount


def prepare(runtime: Runtime, *given: dict[str, Any]) -> list[Arrival]:
    project = first_project(runtime)
    return [
        runtime.intake.prepare(project, Submission(**{"text": "x"} | one), now=utc_now()) for one in given
    ]


def store(runtime: Runtime, *given: dict[str, Any]) -> list[Stored]:
    arrivals = prepare(runtime, *given)
    with runtime.database.write() as session:
        return runtime.intake.store(session, arrivals, now=utc_now())


def drain(runtime: Runtime) -> None:
    Pipeline(
        runtime.database, FakeAnalyser(), utc_now, batch_size=128, lease_seconds=60, max_attempts=5
    ).drain()


def column(runtime: Runtime, what: Any) -> list[Any]:
    with runtime.database.read() as session:
        return list(session.scalars(select(what).order_by(Feedback.id)))


def count(runtime: Runtime, table: type) -> int:
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_same_again_is_a_duplicate_and_other_words_are_an_update(runtime: Runtime) -> None:
    [first] = store(runtime, {"external_id": "7", "text": "slow"})
    [again] = store(runtime, {"external_id": "7", "text": "slow"})
    [changed] = store(runtime, {"external_id": "7", "text": "fast"})
    assert [first.outcome, again.outcome, changed.outcome] == ["stored", "duplicate", "updated"]
    assert first.id == again.id == changed.id
    assert column(runtime, Feedback.text) == ["fast"]


def test_repeats_in_one_group_see_each_other_in_order(runtime: Runtime) -> None:
    stored = store(
        runtime,
        {"external_id": "7", "text": "one"},
        {"external_id": "8", "text": "other"},
        {"external_id": "7", "text": "one"},
        {"external_id": "7", "text": "two"},
        {"external_id": "7", "text": "two"},
        {"external_id": "7", "text": "one"},
    )
    outcomes = [one.outcome for one in stored]
    assert outcomes == ["stored", "stored", "duplicate", "updated", "duplicate", "updated"]
    assert len({one.id for one in stored}) == 2
    assert sorted(column(runtime, Feedback.text)) == ["one", "other"]


def test_the_same_id_at_two_sources_is_two_pieces(runtime: Runtime) -> None:
    stored = store(runtime, {"external_id": "7", "source": "a"}, {"external_id": "7", "source": "b"})
    assert [one.outcome for one in stored] == ["stored", "stored"]
    assert count(runtime, Source) == 2


def test_without_an_id_nothing_is_a_duplicate(runtime: Runtime) -> None:
    assert [one.outcome for one in store(runtime, {}, {})] == ["stored", "stored"]


def test_a_group_larger_than_a_statement(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "CHUNK", 10)
    given = [{"external_id": str(n % 25), "text": f"text {n}"} for n in range(50)]
    outcomes = [one.outcome for one in store(runtime, *given)]
    assert outcomes == ["stored"] * 25 + ["updated"] * 25


def test_what_is_personal_is_not_in_the_row(runtime: Runtime) -> None:
    store(runtime, {"text": "mail me: ada@example.com", "author": {"id": "ada", "email": "ada@example.com"}})
    with runtime.database.read() as session:
        rows = (
            session.execute(text("SELECT * FROM feedback")).all()
            + session.execute(text("SELECT * FROM people")).all()
        )
    assert len(rows) == 2
    assert "ada" not in str([tuple(row) for row in rows]).casefold()


# On SQLite a second writer waits for the first to commit, so there is nothing to race.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_processes_with_the_same_row_at_once_store_it_once(runtime: Runtime) -> None:
    [mine], [theirs] = prepare(runtime, {"external_id": "7"}), prepare(runtime, {"external_id": "7"})
    store(runtime, {"external_id": "other"})
    answers: list[Stored] = []

    def store_theirs() -> None:
        with runtime.database.write() as session:
            answers.extend(runtime.intake.store(session, [theirs], now=utc_now()))

    second = threading.Thread(target=store_theirs)
    with runtime.database.write() as session:
        [first] = runtime.intake.store(session, [mine], now=utc_now())
        second.start()
        wait_until_somebody_waits_for_a_lock(runtime)
    second.join()
    assert first == Stored(mine.row["id"], "stored")
    assert answers == [Stored(mine.row["id"], "duplicate")]
    assert count(runtime, Feedback) == 2


def wait_until_somebody_waits_for_a_lock(runtime: Runtime) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(10_000):
        with runtime.database.read() as session:
            if session.scalar(waiting):
                return
    pytest.fail("nobody waited")


SLOW_INSERTS = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END';
CREATE TRIGGER dawdle BEFORE INSERT ON feedback FOR EACH ROW EXECUTE FUNCTION dawdle();
"""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_same_rows_in_another_order_do_not_block_each_other(runtime: Runtime) -> None:
    store(runtime, {"external_id": "first", "source": "s"})
    with runtime.database.write() as session:
        session.execute(text(SLOW_INSERTS))
    given = [{"external_id": str(n), "source": "s"} for n in range(40)]
    together = threading.Barrier(2)

    def send(rows: list[dict[str, Any]]) -> list[str]:
        arrivals = prepare(runtime, *rows)
        together.wait()
        with runtime.database.write() as session:
            return [one.outcome for one in runtime.intake.store(session, arrivals, now=utc_now())]

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(send, (given, given[::-1])))
    assert outcomes == [["duplicate"] * 40, ["stored"] * 40]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_intake_does_not_wait_for_analysis(runtime: Runtime) -> None:
    [stored] = store(runtime, {"source": "s"})
    drain(runtime)
    with runtime.database.write() as worker:
        recount(worker, [stored.id])
        arrivals = prepare(runtime, {"source": "s"})
        with runtime.database.write() as session:
            session.execute(text("SET LOCAL lock_timeout = '2s'"))
            [another] = runtime.intake.store(session, arrivals, now=utc_now())
    assert another.outcome == "stored"


def test_a_person_is_kept_once_and_an_email_that_comes_later_is_added(runtime: Runtime) -> None:
    store(runtime, {"author": {"id": "ada"}}, {"author": {"id": "ada", "name": "Ada"}})
    assert count(runtime, Person) == 1
    store(runtime, {"author": {"id": "ada", "email": "Ada@Example.com"}})
    store(runtime, {"author": {"id": "bob", "email": "bob@example.com"}}, {"author": {"name": "nobody"}})
    assert count(runtime, Person) == 2
    project = first_project(runtime)
    with runtime.database.read() as session:
        by_mail = find_people(session, runtime.secrets, project, author_id=None, email=" ada@example.com")
        by_id = find_people(session, runtime.secrets, project, author_id="ada", email=None)
        ada = session.get_one(Person, (project, runtime.secrets.person_key(project, "id", "ada")))
    assert ada.id in by_id.ids
    assert set(by_id.ids) <= set(by_mail.ids)
    assert runtime.secrets.unseal(ada.sealed)["email"] == "Ada@Example.com"


def rated(response: str | None, rating: float | None, **rest: Any) -> dict[str, Any]:
    scale = {"rating": rating, "rating_scale": "csat"} if rating is not None else {}
    return {"response_id": response, "source": "survey", **scale, **rest}


def counting(runtime: Runtime) -> list[float]:
    """The ratings that count, after analysis, and which the trends agree with."""
    drain(runtime)
    assert_exact(runtime.database, first_project(runtime))
    with runtime.database.read() as session:
        chosen = select(Feedback.rating).where(Feedback.rating.is_not(None), Feedback.rating_counts)
        return sorted(session.scalars(chosen))


def test_a_rating_that_comes_with_every_answer_of_a_response_counts_once(runtime: Runtime) -> None:
    store(runtime, rated("r", 2.0), rated("r", 2.0), rated("s", 5.0), rated(None, 1.0), rated(None, 1.0))
    store(runtime, rated("r", 2.0))
    assert counting(runtime) == [1.0, 1.0, 2.0, 5.0]


def test_an_answer_without_rating_does_not_hold_the_rating(runtime: Runtime) -> None:
    store(runtime, rated("r", None))
    store(runtime, rated("r", 4.0))
    assert counting(runtime) == [4.0]


def test_when_the_holder_loses_its_rating_another_takes_over(runtime: Runtime) -> None:
    store(runtime, rated("r", 2.0, external_id="a"), rated("r", 3.0, external_id="b"))
    assert counting(runtime) == [2.0]
    store(runtime, rated("r", None, external_id="a"))
    assert counting(runtime) == [3.0]
    store(runtime, rated("r", None, external_id="b"))
    assert counting(runtime) == []
    assert count(runtime, Response) == 0


def test_when_the_holder_moves_to_another_response_both_elect(runtime: Runtime) -> None:
    store(runtime, rated("r", 2.0, external_id="a"), rated("r", 3.0), rated("s", 5.0))
    assert counting(runtime) == [2.0, 5.0]
    store(runtime, rated("s", 2.0, external_id="a"))
    assert len(counting(runtime)) == 2
    assert count(runtime, Response) == 2


def test_when_the_holder_is_erased_another_takes_over(runtime: Runtime) -> None:
    store(runtime, rated("r", 2.0, author={"id": "ada"}), rated("r", 3.0, author={"id": "bob"}))
    assert counting(runtime) == [2.0]
    project = first_project(runtime)
    who = {"author_id": "ada", "email": None, "actor": "test"}
    proof = erase(runtime.database, runtime.secrets, project, clock=utc_now, **who)
    assert proof["feedback"] == 1
    assert counting(runtime) == [3.0]


def test_a_group_of_requests_repeats_answers_of_known_keys(runtime: Runtime) -> None:
    now = utc_now()
    handler = IntakeHandler(runtime.intake, lambda: now)
    key = create_key(runtime)
    first, other = prepare(runtime, {}, {})
    asked = [
        IntakeRequest((first,), Idempotent(key, "k", "body")),
        IntakeRequest((other,), Idempotent(key, "k", "body")),
        IntakeRequest((other,), Idempotent(key, "k", "another body")),
    ]
    with runtime.database.write() as session:
        [one, repeated, refused] = handler(session, asked)
    assert one == repeated == [Stored(first.row["id"], "stored")]
    assert isinstance(refused, Exception)
    with runtime.database.write() as session:
        assert handler(session, asked[1:2]) == [one]
    assert count(runtime, Feedback) == 1
    later = IntakeHandler(runtime.intake, lambda: now + timedelta(hours=25))
    with runtime.database.write() as session:
        assert later(session, asked[1:2]) == [[Stored(other.row["id"], "stored")]]


def create_key(runtime: Runtime) -> str:
    from voice.accounts import create_key

    with runtime.database.write() as session:
        view, _ = create_key(
            session, project_id=first_project(runtime), role="ingest", name="k", actor="test", now=utc_now()
        )
    return view.id


def test_new_sources_and_updates_are_events(runtime: Runtime) -> None:
    store(runtime, {"external_id": "7", "source": "shop"})
    store(runtime, {"external_id": "7", "source": "shop", "text": "y"})
    with runtime.database.read() as session:
        kinds = list(session.scalars(select(Event.kind).order_by(Event.id)))
    assert kinds[-2:] == ["source.created", "feedback.updated"]


def test_an_updated_row_waits_again_with_all_its_attempts(runtime: Runtime) -> None:
    store(runtime, {"external_id": "7"})
    with runtime.database.write() as session:
        session.execute(update(Feedback).values(status=3, attempts=5, alone=True, last_error="Boom"))
    store(runtime, {"external_id": "7", "text": "y"})
    with runtime.database.read() as session:
        row = session.scalars(select(Feedback)).one()
    assert (row.status, row.attempts, row.alone, row.last_error) == (0, 0, False, None)
