"""The OpenAPI document: complete, usable by generators, and true of every answer.

Every answer that any test of this folder receives is held against it (conftest.py); here every operation succeeds once.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi.testclient import TestClient
from httpx import Request, Response

from tests.api.contract import contract
from tests.api.helpers import analysed, make_theme, post
from voice.accounts import ROLES
from voice.runtime import Runtime

DOCUMENT = contract().document
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = list(contract().operations.values())


def nodes(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object of the document with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from nodes(inner, *path, key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from nodes(inner, *path, str(number))


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.get("operationId", "") for operation in OPERATIONS]
    assert len(set(names)) == len(names) == 37
    assert all(re.fullmatch("[a-z]+([A-Z][a-z]+)*", name) for name in names)
    assert all(operation["tags"] and operation["description"] for operation in OPERATIONS)


def test_every_enum_is_named_once() -> None:
    inline = [path for path, node in nodes(DOCUMENT) if "enum" in node and len(path) != 3]
    assert inline == []
    enums = {name: tuple(schema["enum"]) for name, schema in SCHEMAS.items() if "enum" in schema}
    assert len(set(enums.values())) == len(enums)
    assert enums["Role"] == ROLES
    assert enums["Sentiment"] == ("negative", "neutral", "positive")
    assert enums["FeedbackStatus"] == ("pending", "analysed", "dead")


def test_every_reference_leads_somewhere_and_nothing_is_left_over() -> None:
    references = {node["$ref"] for _, node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert references == {f"#/components/schemas/{name}" for name in SCHEMAS}


def test_schemas_are_schemas() -> None:
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})


def test_patterns_are_understood_by_ecmascript() -> None:
    """OpenAPI's regular expressions are ECMA-262, which knows no \\A and \\z."""
    patterns = {node["pattern"] for _, node in nodes(DOCUMENT) if isinstance(node.get("pattern"), str)}
    assert patterns
    assert [pattern for pattern in patterns if re.search(r"\\[AzZ]|\(\?[a-zP<]", pattern)] == []


def test_bodies_take_no_unknown_fields() -> None:
    for operation in OPERATIONS:
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            for schema in content["schema"].get("anyOf", [content["schema"]]):
                named = SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
                assert named["additionalProperties"] is False, operation["operationId"]


def test_every_refusal_is_a_problem() -> None:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for operation in OPERATIONS:
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"401", "403", "404", "409", "412", "413", "422", "429", "503"} <= set(refusals)
        assert all(answer["content"] == {"application/problem+json": problem} for answer in refusals.values())
    assert set(SCHEMAS["Problem"]["required"]) == {"type", "title", "status", "detail", "errors"}


def test_the_document_is_served_as_it_is(shared: TestClient) -> None:
    answer = shared.get("/openapi.json", headers={"Authorization": ""})
    assert answer.json() == DOCUMENT


def answer_of(path: str, status: int, body: Any, media_type: str = "application/json") -> Response:
    headers = {"Content-Type": media_type}
    request = Request("GET", f"http://test{path}")
    return Response(status, headers=headers, content=json.dumps(body), request=request)


ME = {"key": "k", "role": "admin", "project": "main", "project_name": "main"}


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (answer_of("/v1/me", 200, ME), None),
        (answer_of("/v1/me", 200, ME | {"role": "owner"}), "role"),
        (answer_of("/v1/me", 200, ME | {"more": 1}), "more"),
        (answer_of("/v1/me", 200, {}), "required"),
        (answer_of("/v1/me", 418, ME), "not declared"),
        (answer_of("/v1/me", 200, ME, "text/plain"), "text/plain"),
        (answer_of("/v1/me", 404, ME), "application/json"),
    ],
)
def test_the_judge_sees_what_is_wrong(answer: Response, complaint: str | None) -> None:
    faults = contract().faults(answer)
    assert bool(faults) == (complaint is not None)
    assert complaint is None or complaint in faults[0]


TOPIC = {"id": "parcels", "name": "Parcels", "description": "late parcels", "examples": ["my parcel is late"]}


class Tour:
    """Asks for one operation after another and remembers which of them succeeded."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.done: set[str] = set()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        operation = contract().operation(method, path.partition("?")[0])
        assert operation is not None
        self.done.add(operation["operationId"])
        return answer.json() if answer.headers["content-type"] == "application/json" else None


def test_every_operation_succeeds_as_promised(client: TestClient, runtime: Runtime) -> None:
    tour = Tour(client)
    ask = tour.ask
    ask("POST", "/v1/feedback", {"text": "negative words", "author": {"id": "ada", "email": "a@example.com"}})
    ids = analysed(
        client, runtime, "positive one", "neutral two", "negative three", rating=3, rating_scale="stars"
    )
    tour.done.add("postFeedbackBatch")
    a, b = make_theme(runtime, "a", ids[:2]), make_theme(runtime, "b", ids[2:])
    dead = post(client, "poison")
    for _ in range(6):
        runtime.pipeline.drain()
    for path in (
        "me",
        "projects",
        "keys",
        "audit",
        "status",
        "topics",
        "dead",
        "themes",
        f"themes/{a}",
        "trends",
        "export",
    ):
        ask("GET", f"/v1/{path}")
    ask("GET", "/v1/trends?by=theme&metric=net_sentiment")
    assert len(ask("GET", "/v1/feedback")["items"]) == 5
    ask("GET", f"/v1/feedback/{ids[0]}")
    ask("PATCH", f"/v1/feedback/{ids[0]}/analysis", {"intent": "praise", "theme": a})
    ask("PATCH", f"/v1/themes/{a}?preview=true", {"name": "A"})
    event = ask("PATCH", f"/v1/themes/{a}", {"name": "A"})["event"]
    ask("POST", f"/v1/events/{event}/undo")
    ask("POST", f"/v1/themes/{a}/move", {"feedback": ids[:1], "into": b})
    ask("POST", f"/v1/themes/{b}/split", {"feedback": ids[:1]})
    ask("POST", f"/v1/themes/{a}/merge", {"into": b})
    ask("POST", "/v1/topics?preview=true", TOPIC)
    ask("POST", "/v1/topics", TOPIC)
    ask("GET", "/v1/topics/parcels")
    ask("PATCH", "/v1/topics/parcels", {"archived": True})
    ask("POST", "/v1/dead/replay", {"feedback": dead})
    ask("POST", "/v1/people/export", {"author_id": "ada"})
    ask("POST", "/v1/people/erase", {"email": "a@example.com"})
    ask("POST", "/v1/people/allow", {"email": "a@example.com"})
    source = ask("POST", "/v1/sources", {"kind": "webhook", "slug": "shop", "channel": "review"})
    assert len(ask("GET", "/v1/sources")["items"]) == 2
    ask("POST", f"/v1/sources/{source['id']}/rotate", {})
    tour.done.add("deliver")  # signed: tests/security/test_webhooks.py
    key = ask("POST", "/v1/keys", {"role": "viewer", "origins": ["https://example.com"]})["id"]
    ask("DELETE", f"/v1/keys/{key}")
    for path in ("/healthz", "/readyz", "/metrics"):
        ask("GET", path)
    assert tour.done == {operation["operationId"] for operation in OPERATIONS}
