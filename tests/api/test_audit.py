"""The audit: every write says who made it, and so does every reading of who an author is."""

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from tests.api.helpers import analysed, post
from tests.conftest import first_project
from voice.db.tables import Feedback
from voice.runtime import Runtime

ADA = {"id": "customer-778899", "name": "Ada Lovelace", "email": "ada@private-mail.net"}


def readings(client: TestClient) -> list[dict[str, Any]]:
    found = client.get("/v1/audit", params={"kind": "person.read", "limit": 100}).json()["items"]
    assert ADA["id"] not in str(found)
    return found


def test_every_reading_of_an_author_is_recorded(client: TestClient, runtime: Runtime) -> None:
    [mine] = analysed(client, runtime, "negative one", author=ADA)
    analysed(client, runtime, "negative two")
    key = runtime.secrets.person_key(first_project(runtime), "id", ADA["id"])
    me = client.get("/v1/me").json()["key"]
    reads = [
        lambda: client.get("/v1/feedback"),
        lambda: client.get(f"/v1/feedback/{mine}"),
        lambda: client.get("/v1/feedback", params={"like": mine[:25] + "zz one"}),
        lambda: client.patch(f"/v1/feedback/{mine}/analysis", json={"intent": "praise"}),
    ]
    for n, read in enumerate(reads, 1):
        read().raise_for_status()
        found = readings(client)
        assert len(found) == n
        assert found[0]["after"] == {"people": [key]}
        assert found[0]["actor"] == f"key:{me}"


def test_reading_the_dead_is_recorded(client: TestClient, runtime: Runtime) -> None:
    post(client, "poison", author=ADA)
    for _ in range(8):
        runtime.pipeline.step()
    assert client.get("/v1/dead").json()["items"]
    assert len(readings(client)) == 1


def test_what_shows_no_author_is_no_reading(client: TestClient, runtime: Runtime) -> None:
    analysed(client, runtime, "negative two", author={"segment": "pro", "account": "acme"})
    [mine] = analysed(client, runtime, "negative one", author=ADA)
    client.get("/v1/trends").raise_for_status()
    client.get("/v1/themes").raise_for_status()
    client.get("/v1/feedback", params={"segment": "pro"}).raise_for_status()
    client.get("/v1/audit", params={"subject": mine}).raise_for_status()
    assert readings(client) == []


def test_every_row_says_who_sent_it(client: TestClient, runtime: Runtime) -> None:
    post(client, "by batch")
    client.post("/v1/feedback", json={"text": "by itself"}).raise_for_status()
    me = client.get("/v1/me").json()["key"]
    with runtime.database.read() as session:
        assert set(session.scalars(select(Feedback.sent_by))) == {f"key:{me}"}
    for body in ("first", "second"):
        client.post("/v1/feedback", json={"text": body, "external_id": "1"}).raise_for_status()
    [event] = client.get("/v1/audit", params={"kind": "feedback.updated"}).json()["items"]
    assert event["actor"] == f"key:{me}"
