"""The taxonomy: what may be added and changed, and what a preview promises."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import analysed, items, refused, state_of
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.analysis.analyser import Analyser
from voice.analysis.topics import load_taxonomy
from voice.runtime import Runtime

DELIVERY = {
    "id": "parcel-delivery",
    "name": "Parcel delivery",
    "description": "The parcel or courier came late, to the wrong door, or never.",
    "examples": [
        "My parcel never arrived",
        "The courier left the parcel at the wrong door",
        "Delivery took weeks",
    ],
}


def test_the_shipped_taxonomy(shared: TestClient) -> None:
    found = {topic["id"]: topic for topic in shared.get("/v1/topics").json()["items"]}
    assert set(found) == {topic.id for topic in load_taxonomy()}
    for topic in load_taxonomy():
        shown = found[topic.id]
        assert (shown["name"], shown["examples"]) == (topic.name, list(topic.examples))
        assert (shown["version"], shown["archived"]) == (1, False)


def test_one_topic_with_its_version(shared: TestClient) -> None:
    first = shared.get("/v1/topics").json()["items"][0]
    answer = shared.get(f"/v1/topics/{first['id']}")
    assert (answer.json(), answer.headers["etag"]) == (first, '"1"')
    for topic_id in ("nope", "%00", "a" * 300, "%ED%A0%80"):
        refused(shared.get(f"/v1/topics/{topic_id}"), 404)
        refused(shared.patch(f"/v1/topics/{topic_id}", json={"name": "x"}), 404)


def test_create(client: TestClient) -> None:
    made = client.post("/v1/topics", json=DELIVERY)
    assert made.status_code == 201
    assert made.json() == DELIVERY | {"archived": False, "version": 1}
    assert client.get("/v1/topics/parcel-delivery").json() == made.json()
    refused(client.post("/v1/topics", json=DELIVERY), 409)


def test_names_as_long_as_they_may_be(client: TestClient) -> None:
    """On PostgreSQL one character too many would be an error of the database."""
    longest = DELIVERY | {
        "id": "a" * 64,
        "name": "é" * 120,
        "description": "x" * 2_000,
        "examples": ["x" * 500] * 100,
    }
    assert client.post("/v1/topics", json=longest).status_code == 201
    for field, value in (("id", "a" * 65), ("name", "x" * 121), ("description", "x" * 2_001)):
        refused(client.post("/v1/topics", json=DELIVERY | {field: value}), 422, field)
    refused(client.patch(f"/v1/topics/{'a' * 64}", json={"name": "x" * 121}), 422, "name")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "Bad"}, "id"),
        ({"id": "dots.are.not"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"name": ""}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"examples": []}, "examples"),
        ({"examples": [""]}, "examples.0"),
        ({"examples": ["x"] * 101}, "examples"),
        ({"archived": True}, "archived"),
        ({"version": 7}, "version"),
    ],
)
def test_bad_topics(shared: TestClient, change: dict[str, Any], field: str) -> None:
    refused(shared.post("/v1/topics", json=DELIVERY | change), 422, field)


def test_edit_and_if_match(client: TestClient) -> None:
    client.post("/v1/topics", json=DELIVERY)
    path = "/v1/topics/parcel-delivery"
    edited = client.patch(path, json={"name": "Shipping"}, headers={"If-Match": '"1"'})
    assert (edited.json()["name"], edited.json()["version"], edited.headers["etag"]) == ("Shipping", 2, '"2"')
    stale = refused(client.patch(path, json={"name": "Post"}, headers={"If-Match": '"1"'}), 412)
    assert stale["current"] == edited.json()
    same = client.patch(path, json={"name": "Shipping"})
    assert same.json()["version"] == 2
    for version in ("*", '"2"', 'W/"2"'):
        assert client.patch(path, json={"name": "Shipping"}, headers={"If-Match": version}).status_code == 200
    refused(client.patch(path, json={"name": "x"}, headers={"If-Match": "latest"}), 422, "If-Match")
    refused(client.patch(path, json={}), 422, "name")
    refused(client.patch(path, json={"id": "other"}), 422, "id")


def test_archived_topics_take_nothing_new(client: TestClient, runtime: Runtime) -> None:
    before = {topic["id"] for topic in client.get("/v1/topics").json()["items"]}
    gone = min(before)
    assert client.patch(f"/v1/topics/{gone}", json={"archived": True}).json()["archived"] is True
    assert {topic["id"] for topic in client.get("/v1/topics").json()["items"]} == before - {gone}
    assert client.get(f"/v1/topics/{gone}").json()["archived"] is True
    assert client.patch(f"/v1/topics/{gone}", json={"archived": False}).json()["version"] == 3
    assert {topic["id"] for topic in client.get("/v1/topics").json()["items"]} == before


TEXTS = [
    "My parcel arrived three weeks late",
    "The courier left my parcel in the rain",
    "Your parcel delivery service is terrible",
    "I cannot log in to my account",
    "The invoice shows the wrong amount",
]


def topics_by_id(client: TestClient) -> dict[str, list[str]]:
    return {item["id"]: sorted(topic["id"] for topic in item["analysis"]["topics"]) for item in items(client)}


@pytest.mark.parametrize("edit", ["create", "edit", "archive"])
def test_a_preview_moves_nothing_and_is_right(
    sqlite_client: TestClient, sqlite_runtime: Runtime, real_models: Analyser, edit: str
) -> None:
    client, project_id = sqlite_client, first_project(sqlite_runtime)
    method, path, body = "POST", "/v1/topics", dict(DELIVERY)
    if edit != "create":
        client.post(
            path, json=DELIVERY if edit == "archive" else DELIVERY | {"examples": ["x"], "description": "y"}
        )
        method, path = "PATCH", "/v1/topics/parcel-delivery"
        body = (
            {"archived": True} if edit == "archive" else {k: DELIVERY[k] for k in ("examples", "description")}
        )
    analysed(client, sqlite_runtime, *TEXTS)
    before, topics = state_of(sqlite_runtime.database), topics_by_id(client)
    preview = client.request(method, f"{path}?preview=true", json=body)
    assert preview.status_code == 200
    assert state_of(sqlite_runtime.database) == before
    assert preview.json()["preview"] is True
    assert preview.json()["details"]["looked_at"] == len(TEXTS)
    assert preview.json()["feedback"] >= 3
    assert client.request(method, path, json=body).status_code in (200, 201)
    assert sqlite_runtime.pipeline.retopic(project_id) == preview.json()["feedback"]
    after = topics_by_id(client)
    assert sum(topics[one] != after[one] for one in topics) == preview.json()["feedback"]
    assert_exact(sqlite_runtime.database, project_id)
