"""Erasure reaches everything, survives a crash at any step, and keeps what was erased from coming back."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import count, product
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text, update

from tests.api.helpers import analysed, bytes_on_disk, ids_of, items, make_theme, other_project, post, serving
from tests.conftest import first_project
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.clock import DAY, HOUR, utc_now
from voice.db.tables import Base, Erasure, Feedback, Suppression, Theme
from voice.feedback.submission import Submission
from voice.people import erase, erasure, finish_erasures, reapply_erasures
from voice.pipeline import Pipeline
from voice.runtime import Runtime
from voice.themes import evaluate

ADA = {"id": "customer-778899", "name": "Ada Lovelace", "email": "ada@private-mail.net"}
BOB = {"id": "bob-4711", "name": "Bob"}
WORD = "Zanzibarquux"


def everything_kept(runtime: Runtime) -> str:
    """Every value of every table, as a dump would have it, and every byte of SQLite's files."""
    with runtime.database.read() as session:
        rows = [session.execute(text(f"SELECT * FROM {t.name}")).all() for t in Base.metadata.sorted_tables]
    return (repr(rows) + bytes_on_disk(runtime)).casefold()


def assert_nothing_of(runtime: Runtime, *found: str) -> None:
    kept = everything_kept(runtime)
    assert [one for one in found if one.casefold() in kept] == []


def send(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_what_is_found_before_is_not_found_after(client: TestClient, runtime: Runtime) -> None:
    """The search of every byte is able to find what it looks for."""
    body = {"text": f"{WORD} one", "external_id": "ticket-8231", "author": ADA}
    ids = [
        client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "once"}).json()["id"],
        *analysed(client, runtime, f"{WORD} two", author=ADA),
    ]
    kept = everything_kept(runtime)
    for one in (WORD, "ticket-8231", *ids):
        assert one.casefold() in kept
    assert client.post("/v1/people/erase", json={"author_id": ADA["id"]}).status_code == 200
    assert_nothing_of(runtime, WORD, "ticket-8231", *ids, *ADA.values())


def test_themes_forget_words_names_quotes_and_centres(client: TestClient, runtime: Runtime) -> None:
    project_id = first_project(runtime)
    hers = analysed(client, runtime, f"{WORD} negative lamp", f"{WORD} negative sofa", author=ADA)
    theirs = analysed(client, runtime, "negative lamp broke", author=BOB)
    theme = make_theme(runtime, f"{WORD} lamp", [*hers, *theirs], centre=f"{WORD} lamp")
    alone = make_theme(runtime, f"{WORD} alone", centre=WORD)
    client.post(f"/v1/themes/{theme}/move", json={"feedback": hers[1:]}).raise_for_status()
    client.post(f"/v1/themes/{alone}/merge", json={"into": theme}).raise_for_status()
    with runtime.database.write() as session:
        words = update(Theme).where(Theme.id == theme)
        session.execute(words.values(keywords=[WORD.lower(), "negative lamp"]))
        before = session.get_one(Theme, theme).centroid
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    shown = client.get(f"/v1/themes/{theme}").json()
    assert (shown["name"], shown["keywords"], shown["size"]) == ("Negative lamp", ["negative lamp"], 1)
    assert [quote["id"] for quote in shown["quotes"]] == []
    with runtime.database.read() as session:
        after = session.get_one(Theme, theme).centroid
        assert after not in (None, before)
    assert_nothing_of(runtime, WORD, *hers)
    assert_exact(runtime.database, project_id)


def test_a_theme_of_nobody_takes_nothing_and_says_nothing(client: TestClient, runtime: Runtime) -> None:
    hers = analysed(client, runtime, f"{WORD} lamp", author=ADA)
    theme = make_theme(runtime, f"{WORD} lamp", hers, centre=f"{WORD} lamp")
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    with runtime.database.read() as session:
        left = session.get_one(Theme, theme)
        assert (left.centroid, left.keywords, left.quotes) == (None, [], [])
        assert left.name.startswith("Unnamed theme")
    assert_nothing_of(runtime, WORD)


def test_a_name_given_by_a_person_stays(client: TestClient, runtime: Runtime) -> None:
    hers = analysed(client, runtime, "broken lamp", author=ADA)
    theme = make_theme(runtime, "Lamp", hers)
    client.patch(f"/v1/themes/{theme}", json={"name": "Lighting"}).raise_for_status()
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    assert client.get(f"/v1/themes/{theme}").json()["name"] == "Lighting"


AGAIN = [
    {"text": "by id", "author": {"id": ADA["id"]}},
    {"text": "by address", "author": {"email": " ADA@private-mail.NET "}},
    {"text": "by address under another id", "author": {"id": "new-id", "email": ADA["email"]}},
    {"text": "without author", "external_id": "7", "source": "desk"},
]


def test_what_was_erased_does_not_come_back(client: TestClient, runtime: Runtime) -> None:
    send(client, text=f"{WORD} one", external_id="7", source="desk", author=ADA)
    client.post("/v1/people/erase", json={"email": ADA["email"]}).raise_for_status()
    for body in AGAIN:
        assert send(client, **body) == {"id": None, "outcome": "erased"}
    lines = "\n".join(json.dumps(body) for body in [*AGAIN, {"text": "innocent"}])
    answer = client.post("/v1/feedback/batch", content=lines).json()
    assert [answer[name] for name in ("stored", "erased", "rejected")] == [1, len(AGAIN), 0]
    assert [line["outcome"] for line in answer["lines"]] == ["erased"] * len(AGAIN) + ["stored"]
    assert len(items(client)) == 1
    assert_nothing_of(runtime, ADA["email"], ADA["id"], "by address", WORD)


def test_who_shares_an_address_goes_on_being_heard(client: TestClient) -> None:
    shared = {"email": "support@acme.test"}
    send(client, text="one", author={"id": "ada", **shared})
    send(client, text="two", author={"id": "bob", **shared})
    send(client, text="three", author=shared)
    assert client.post("/v1/people/erase", json={"author_id": "ada"}).json()["feedback"] == 2
    assert [item["text"] for item in items(client)] == ["two"]
    assert send(client, text="four", author={"id": "bob", **shared})["outcome"] == "stored"
    assert send(client, text="five", author=shared)["outcome"] == "erased"


def test_an_earlier_address_still_finds_its_author(client: TestClient) -> None:
    send(client, text="one", author={"id": "ada", "email": "old@mail.test"})
    send(client, text="two", author={"id": "ada", "email": "new@mail.test"})
    send(client, text="three", author={"email": "new@mail.test"})
    assert client.post("/v1/people/erase", json={"email": "old@mail.test"}).json()["feedback"] == 3
    assert send(client, text="four", author={"email": "new@mail.test"})["outcome"] == "erased"


def test_another_project_knows_nothing_of_it(client: TestClient, runtime: Runtime) -> None:
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    with serving(runtime, other_project(runtime)) as theirs:
        assert send(theirs, text="there", author=ADA)["outcome"] == "stored"


def test_somebody_may_be_heard_again(client: TestClient) -> None:
    old = {"text": "one", "external_id": "7", "author": ADA}
    send(client, **old)
    client.post("/v1/people/erase", json={"email": ADA["email"]}).raise_for_status()
    assert client.post("/v1/people/allow", json={"email": ADA["email"]}).json() == {
        "allowed": True,
        "address_suppressed": False,
    }
    assert client.post("/v1/people/allow", json={"email": ADA["email"]}).json() == {
        "allowed": False,
        "address_suppressed": False,
    }
    assert send(client, text="new words", author={"email": ADA["email"]})["outcome"] == "stored"
    assert send(client, **old)["outcome"] == "erased"
    kinds = [event["kind"] for event in client.get("/v1/audit", params={"limit": 10}).json()["items"]]
    assert kinds.count("person.allowed") == 1


def test_the_proof_lists_what_had_left(client: TestClient) -> None:
    post(client, "one", author=ADA)
    post(client, "one", author=BOB)
    for who in (ADA, BOB):
        client.post("/v1/people/export", json={"author_id": who["id"]}).raise_for_status()
    proof = client.post("/v1/people/erase", json={"author_id": ADA["id"]}).json()
    assert [one["kind"] for one in proof["already_left"]] == ["person.exported"]


def test_an_erasure_that_another_process_finished_meanwhile_is_the_same_one(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = first_project(runtime)
    monkeypatch.setattr(erasure, "CHUNK", 2)
    hers = post(client, *(f"{WORD} {n}" for n in range(5)), author=ADA)
    begun = utc_now()
    times = count()

    def clock() -> datetime:
        later = begun + next(times) * HOUR
        finish_erasures(runtime.database, runtime.secrets, clock=lambda: later)
        return later

    who = {"author_id": ADA["id"], "email": None, "actor": "test"}
    proof = erase(runtime.database, runtime.secrets, project_id, clock=clock, **who)
    assert proof["feedback"] == len(hers)
    assert_nothing_of(runtime, WORD, *hers)
    assert len(client.get("/v1/audit", params={"kind": "person.erased"}).json()["items"]) == 1


class Crash(BaseException):
    """The process ends here."""


def test_an_interrupted_erasure_is_finished(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = first_project(runtime)
    monkeypatch.setattr(erasure, "CHUNK", 2)
    for crash_at in range(1, 9):
        author = {"id": f"author-{crash_at}"}
        hers = analysed(client, runtime, *(f"{WORD} {crash_at} {n}" for n in range(5)), author=author)
        make_theme(runtime, f"{WORD} {crash_at}", hers, centre=WORD)
        who = {"author_id": author["id"], "email": None, "actor": "test"}
        _crash_in(runtime, crash_at, monkeypatch)
        with pytest.raises(Crash):
            erase(runtime.database, runtime.secrets, project_id, clock=utc_now, **who)
        monkeypatch.undo()
        monkeypatch.setattr(erasure, "CHUNK", 2)
        assert_exact(runtime.database, project_id)
        late = utc_now() + DAY
        done = finish_erasures(runtime.database, runtime.secrets, clock=lambda now=late: now)
        if done == 0:  # the first transaction never committed: nothing was promised
            assert crash_at == 1
            assert ids_of(client) == set(hers)
            erase(runtime.database, runtime.secrets, project_id, clock=utc_now, **who)
        assert ids_of(client) == set()
        assert_nothing_of(runtime, WORD, author["id"], *hers)
        assert_exact(runtime.database, project_id)
        with runtime.database.read() as session:
            finished = session.scalars(select(Erasure.finished_at)).all()
        assert None not in finished
    proofs = client.get("/v1/audit", params={"kind": "person.erased", "limit": 100}).json()["items"]
    assert len(proofs) == 8


def _crash_in(runtime: Runtime, number: int, patch: pytest.MonkeyPatch) -> None:
    """End the process when the writing transaction with this number, from 1, is about to commit."""
    begun = 0
    write = runtime.database.write

    def counted() -> Any:
        nonlocal begun
        begun += 1
        return NeverCommits(write()) if begun == number else write()

    patch.setattr(runtime.database, "write", counted)


class NeverCommits:
    def __init__(self, transaction: Any) -> None:
        self._transaction = transaction

    def __enter__(self) -> Any:
        return self._transaction.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._transaction.__exit__(Crash, Crash(), None)
        raise Crash


def test_a_running_evaluation_does_not_write_what_it_had_read(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = first_project(runtime)
    said = (f"{WORD} card payment fails", "login password reset loops", "export report file broken")
    fillers = ["".join(letters) for letters in product("bdfgklmnprst", "aeiou", "bdgkl")]
    for n, (one, other) in enumerate(zip(fillers[:90], fillers[90:180], strict=True)):
        author = {"id": f"author {n}", "email": ADA["email"]}
        post(client, f"{said[n % 3]} {one} {other}", author=author)
    runtime.pipeline.drain()
    propose = evaluate._propose

    def slowly(*given: Any) -> Any:
        proposal = propose(*given)
        assert any(WORD.lower() in named.title.lower() for named in proposal.names.values())
        client.post("/v1/people/erase", json={"email": ADA["email"]}).raise_for_status()
        return proposal

    monkeypatch.setattr(evaluate, "_propose", slowly)
    assert runtime.evaluate(project_id, as_of=utc_now()).born == 0
    assert client.get("/v1/themes").json()["items"] == []
    assert_nothing_of(runtime, WORD)


def test_an_old_copy_is_erased_again(client: TestClient, runtime: Runtime) -> None:
    """As after the restore of a backup that was made before the erasures."""
    project_id = first_project(runtime)
    send(client, text="one", external_id="7", author=ADA)
    client.post("/v1/people/erase", json={"email": ADA["email"]}).raise_for_status()
    client.post("/v1/people/allow", json={"email": ADA["email"]}).raise_for_status()
    send(client, text="said after being allowed", author=ADA)
    old = utc_now() - DAY
    given = [
        Submission(text=f"{WORD} by her", author=ADA),
        Submission(text=f"{WORD} by nobody", external_id="7"),
        Submission(text="by somebody else", author=BOB),
    ]
    with runtime.database.write() as session:
        kept = {row.key for row in session.scalars(select(Suppression))}
        session.execute(Suppression.__table__.delete())
        arrivals = [runtime.intake.prepare(project_id, one, now=old) for one in given]
        runtime.intake.store(session, arrivals, now=old)
        session.add_all(Suppression(project_id=project_id, key=key, at=old) for key in kept)
    runtime.pipeline.drain()
    assert reapply_erasures(runtime.database, runtime.secrets, clock=utc_now) == 2
    assert {item["text"] for item in items(client)} == {"said after being allowed", "by somebody else"}
    assert_exact(runtime.database, project_id)
    assert_nothing_of(runtime, WORD)
    assert reapply_erasures(runtime.database, runtime.secrets, clock=utc_now) == 0


def test_one_of_those_who_share_an_address_may_be_heard_again(client: TestClient) -> None:
    shared = {"email": "support@acme.test"}
    for author in ("ada", "bob"):
        send(client, text="one", author={"id": author, **shared})
    client.post("/v1/people/erase", json=shared).raise_for_status()
    answer = client.post("/v1/people/allow", json={"author_id": "ada"}).json()
    assert answer == {"allowed": True, "address_suppressed": True}
    assert send(client, text="two", author={"id": "ada"})["outcome"] == "stored"
    assert send(client, text="two", author={"id": "ada", **shared})["outcome"] == "erased"
    assert send(client, text="two", author={"id": "bob"})["outcome"] == "erased"
    assert client.post("/v1/people/allow", json=shared).json() == {
        "allowed": True,
        "address_suppressed": False,
    }
    for author in ("ada", "bob"):
        assert send(client, text="three", author={"id": author, **shared})["outcome"] == "stored"


def test_words_go_from_themes_that_the_item_had_left(client: TestClient, runtime: Runtime) -> None:
    [hers] = analysed(client, runtime, f"{WORD} lamp", author=ADA)
    theirs = analysed(client, runtime, "broken lamp", author=BOB)
    left = make_theme(runtime, f"{WORD} lamp", [hers, *theirs])
    client.post(f"/v1/themes/{left}/move", json={"feedback": [hers]}).raise_for_status()
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    assert_nothing_of(runtime, WORD, hers)


def test_an_answer_that_came_later_is_forgotten_too(client: TestClient, runtime: Runtime) -> None:
    body = {"text": "one", "external_id": "7", "author": ADA}
    [first] = [send(client, **body)["id"]]
    again = client.post("/v1/feedback", json=body, headers={"Idempotency-Key": "later"}).json()
    assert again == {"id": first, "outcome": "duplicate"}
    client.post("/v1/people/erase", json={"author_id": ADA["id"]}).raise_for_status()
    assert_nothing_of(runtime, first)


def test_an_erasure_beside_analysis_leaves_the_trends_exact(client: TestClient, runtime: Runtime) -> None:
    """Workers record results of the rows while they are being erased."""
    project_id = first_project(runtime)
    who = {"author_id": ADA["id"], "email": None, "actor": "test"}
    for _ in range(5):
        post(client, *(f"negative {n}" for n in range(60)), author=ADA)
        post(client, *(f"positive {n}" for n in range(60)), author=BOB)
        with ThreadPoolExecutor(3) as pool:
            working = [pool.submit(_work, runtime) for _ in range(2)]
            erasing = pool.submit(erase, runtime.database, runtime.secrets, project_id, clock=utc_now, **who)
            for one in (*working, erasing):
                one.result()
        _work(runtime)
        assert_exact(runtime.database, project_id)
        client.post("/v1/people/allow", json={"author_id": ADA["id"]}).raise_for_status()
    assert {item["author"]["id"] for item in items(client)} == {BOB["id"]}


def _work(runtime: Runtime) -> None:
    Pipeline(
        runtime.database, FakeAnalyser(), utc_now, batch_size=16, lease_seconds=60, max_attempts=5
    ).drain()


def test_nothing_slips_in_beside_an_erasure(client: TestClient, runtime: Runtime) -> None:
    """Intake that runs while the erasure begins: what it stores goes, or is not stored."""
    project_id = first_project(runtime)
    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, client, text=f"{WORD} {n}", author=ADA) for n in range(40)]
        sending[5].result()
        who = {"author_id": ADA["id"], "email": None, "actor": "test", "clock": utc_now}
        erase(runtime.database, runtime.secrets, project_id, **who)
        outcomes = [one.result()["outcome"] for one in sending]
    assert set(outcomes) <= {"stored", "erased"}
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Feedback)) == 0
    assert_nothing_of(runtime, WORD)
