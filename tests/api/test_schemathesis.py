"""What a machine makes of the contract, and what people with bad intentions send: on PostgreSQL, nothing answers 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from httpx import Response
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.contract import contract
from tests.api.helpers import analysed, make_theme, post, serving
from tests.conftest import make_runtime, new_key
from tests.services import postgres_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXAMPLES = 60
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SOURCE = {"kind": "webhook", "slug": "hook", "channel": "review"}
SCHEMA = schemathesis.openapi.from_dict(contract().document)


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context: Any, value: Any) -> bytes:
    """One line per value; generated bodies of a batch are plain strings."""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


class Target:
    """An API on PostgreSQL with a little of everything, and ids that exist."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.runtime = client.app.state.voice.runtime
        feedback = analysed(client, self.runtime, *(f"negative thing {n}" for n in range(12)))
        themes = [make_theme(self.runtime, f"theme {n}", feedback[n::4]) for n in range(4)]
        post(client, "poison")
        for _ in range(6):
            self.runtime.pipeline.drain()
        key = client.post("/v1/keys", json={"role": "viewer"}).json()["id"]
        event = client.patch(f"/v1/themes/{themes[0]}", json={"owner": "ada"}).json()["event"]
        self.ids: dict[str, list[str]] = {
            "feedback_id": feedback,
            "theme_id": themes,
            "topic_id": [client.get("/v1/topics").json()["items"][0]["id"]],
            "key_id": [key],
            "event_id": [str(event)],
            "source_id": [client.post("/v1/sources", json=SOURCE).json()["id"]],
        }


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with postgres_database() as url:
        runtime = make_runtime(url, tmp_path_factory.mktemp("fuzzed"))
        with serving(runtime, new_key(runtime, "admin")) as client:
            yield Target(client)


def send(target: Target, case: schemathesis.Case) -> Response:
    """Send a generated case; of the ids it made up, every second becomes one that exists."""
    for name, made_up in case.path_parameters.items():
        if len(str(made_up)) % 2:
            known = target.ids[name]
            case.path_parameters[name] = known[len(str(made_up)) // 2 % len(known)]
    sent = case.as_transport_kwargs(base_url="http://testserver")
    sent.pop("cookies", None)
    sent["headers"] = {name: latin(value) for name, value in sent["headers"].items()}
    content = sent.pop("data", None)
    if content is not None:
        sent["content"] = content if isinstance(content, bytes | str) else b""
    return target.client.request(**sent)


def latin(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests(target: Target, case: schemathesis.Case) -> None:
    case.validate_response(send(target, case), checks=CHECKS)
