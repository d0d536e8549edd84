"""People: everything kept of one author can be had, and can be made to be gone from everywhere."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from tests.api.helpers import (
    analysed,
    bytes_on_disk,
    ids_of,
    items,
    make_theme,
    other_project,
    post,
    refused,
    serving,
)
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.analysis.analyser import Analyser
from voice.db.tables import Base
from voice.runtime import Runtime

ADA = {"id": "customer-778899", "name": "Ada Lovelace", "email": "Ada@Example.com", "account": "acme"}
BOB = {"id": "bob", "name": "Bob"}


def export(client: TestClient, **who: str) -> dict[str, Any]:
    answer = client.post("/v1/people/export", json=who)
    assert answer.status_code == 200, answer.text
    return answer.json()


def erase(client: TestClient, **who: str) -> dict[str, Any]:
    answer = client.post("/v1/people/erase", json=who)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_export_is_everything_kept(client: TestClient, runtime: Runtime) -> None:
    mine = analysed(client, runtime, "negative one", author=ADA)
    mine += post(client, "two, not read yet", author={"id": ADA["id"]})
    post(client, "somebody else", author=BOB)
    for who in ({"author_id": ADA["id"]}, {"email": "ada@example.com"}, {"email": "  ADA@EXAMPLE.COM "}):
        found = export(client, **who)
        assert found["people"] == [{name: ADA[name] for name in ("id", "name", "email")}]
        assert [item["id"] for item in found["feedback"]] == sorted(mine)
    assert {item["id"]: item for item in found["feedback"]} == {
        item["id"]: item for item in items(client) if item["id"] in mine
    }


def test_every_reading_is_recorded_without_names(client: TestClient) -> None:
    post(client, "one", author=ADA)
    export(client, email=ADA["email"])
    erase(client, author_id=ADA["id"])
    events = client.get("/v1/audit", params={"kind": ["person.exported", "person.erased"]})
    assert [event["kind"] for event in events.json()["items"]] == ["person.erased", "person.exported"]
    assert not any(value in events.text for value in ADA.values())


def test_an_address_reaches_what_was_said_under_an_id(client: TestClient) -> None:
    mine = post(client, "one", author=ADA) + post(client, "two", author={"id": ADA["id"]})
    mine += post(client, "three", author={"email": ADA["email"]})
    other = post(client, "four", author=BOB)
    assert len(export(client, email=ADA["email"])["feedback"]) == 3
    proof = erase(client, email=ADA["email"])
    assert proof["feedback"] == len(mine) == 3
    assert ids_of(client) == set(other)


def test_erased_from_everything(client: TestClient, runtime: Runtime) -> None:
    project_id = first_project(runtime)
    mine = analysed(client, runtime, "xylophone negative one", "xylophone negative two", author=ADA)
    theirs = analysed(client, runtime, "positive three", "positive four", author=BOB)
    theme = make_theme(runtime, "Positive", [*mine, *theirs])
    corrected = client.patch(f"/v1/feedback/{mine[0]}/analysis", json={"intent": "praise", "topics": []})
    moved = client.post(f"/v1/themes/{theme}/move", json={"feedback": [mine[1]]}).json()
    waiting = post(client, "xylophone waiting", author=ADA)
    dead = post(client, "xylophone poison", author=ADA)
    for _ in range(6):
        runtime.pipeline.step()
    proof = erase(client, author_id=ADA["id"])
    assert proof["feedback"] == len([*mine, *waiting, *dead])
    assert set(proof) == {"id", "people", "feedback", "themes", "already_left", "erased_at"}
    assert ids_of(client) == set(theirs)
    for feedback_id in [*mine, *waiting, *dead]:
        refused(client.get(f"/v1/feedback/{feedback_id}"), 404)
        assert client.get("/v1/audit", params={"subject": feedback_id}).json()["items"] == []
    shown = client.get(f"/v1/themes/{theme}").json()
    assert (shown["size"], shown["people"]) == (2, 1)
    assert all(quote["id"] in theirs for quote in shown["quotes"])
    assert_exact(runtime.database, project_id)
    refused(client.post(f"/v1/events/{corrected.headers['voice-event']}/undo"), 404)
    assert client.post(f"/v1/events/{moved['event']}/undo").status_code == 200
    assert_exact(runtime.database, project_id)
    assert runtime.pipeline.drain() == 0
    nothing_left(runtime, [*mine, *waiting, *dead], ["xylophone", *ADA.values()])


def nothing_left(runtime: Runtime, ids: list[str], words: list[str]) -> None:
    """No table and no file holds these rows' ids or words."""
    with runtime.database.read() as session:
        everything = "".join(
            repr(session.execute(text(f"SELECT * FROM {table.name}")).all())
            for table in Base.metadata.sorted_tables
        )
    everything += bytes_on_disk(runtime)
    assert [one for one in (*ids, *words) if one in everything] == []


def test_an_erased_meaning_is_not_found(
    sqlite_client: TestClient, sqlite_runtime: Runtime, real_models: Analyser
) -> None:
    analysed(sqlite_client, sqlite_runtime, "I was charged twice", author=ADA)
    [left] = analysed(sqlite_client, sqlite_runtime, "The map does not load", author=BOB)
    erase(sqlite_client, author_id=ADA["id"])
    assert [item["id"] for item in items(sqlite_client, like="double payment")] == [left]


def test_the_proof_holds_only_hashes(client: TestClient, runtime: Runtime) -> None:
    post(client, "one", author=ADA)
    proof = erase(client, email=ADA["email"])
    hashes = runtime.secrets.person_key(first_project(runtime), "id", ADA["id"])
    assert hashes in proof["people"]
    assert all(len(one) == 32 and not set(one) - set("0123456789abcdef") for one in proof["people"])


def test_nobody_and_nobody_again(client: TestClient) -> None:
    assert erase(client, author_id="nobody")["feedback"] == 0
    post(client, "one", author=ADA)
    assert [erase(client, author_id=ADA["id"])["feedback"] for _ in range(2)] == [1, 0]
    assert export(client, author_id=ADA["id"]) == {"people": [], "feedback": []}


def test_the_same_person_elsewhere_stays(client: TestClient, runtime: Runtime) -> None:
    post(client, "here", author=ADA)
    with serving(runtime, other_project(runtime)) as theirs:
        [kept] = post(theirs, "there", author=ADA)
        erase(client, email=ADA["email"])
        assert ids_of(client) == set()
        assert ids_of(theirs) == {kept}
        assert export(theirs, email=ADA["email"])["people"][0]["name"] == ADA["name"]


@pytest.mark.parametrize("act", ["export", "erase"])
@pytest.mark.parametrize(
    "who",
    [
        {},
        {"author_id": None},
        {"author_id": "a", "email": "b"},
        {"author_id": ""},
        {"email": "a\x00"},
        {"email": "x" * 201},
        {"id": "a"},
    ],
)
def test_who_must_be_said_in_one_way(shared: TestClient, act: str, who: dict[str, Any]) -> None:
    named = next(iter(who)) if len(who) == 1 and who != {"author_id": None} else "author_id"
    refused(shared.post(f"/v1/people/{act}", json=who), 422, named)
