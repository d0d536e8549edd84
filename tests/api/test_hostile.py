"""Hostile text through every write path, query parameter, path and header, on PostgreSQL and with the shipped models.

Nothing may answer 5xx, nothing that was accepted may end up dead, and every list can still be read.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from tests.api.contract import contract
from tests.api.helpers import JSON, analysed, make_theme, post, serving
from tests.conftest import first_project, make_runtime, new_key
from tests.recount import assert_exact
from tests.services import postgres_database
from tests.webhooks import signed
from voice.analysis.analyser import Analyser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CORPUS = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udc00\ud800",
    "\u202etxet desrever\u202c",
    "\u200b",
    "\ufeff",
    "\u2028\u2029",
    "\x1b[31mred\x07\x7f",
    "\U0010ffff\uffff",
    "Z\u0351\u036b\u0343" * 300,
    "😀" * 10_000,
    "'; DROP TABLE feedback; --",
    '" OR ""="',
    "%' ESCAPE '\\",
    "\\",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "{{7*7}}${jndi:ldap://x}%s%n",
    "%00",
    "../../../../etc/passwd",
    "9" * 400,
    "-1",
    "1e999",
    "NaN",
    "9223372036854775808",
    "a" * 9_999 + "!",
    "a@" * 5_000,
    "1 " * 5_000,
    "http://" * 1_500,
    "((((((((((" * 900,
    " " * 10_000,
    "null",
    "",
]

WORD = "@@"
FEEDBACK: dict[str, Any] = {
    "text": WORD,
    "title": WORD,
    "channel": WORD,
    "source": WORD,
    "external_id": WORD,
    "response_id": WORD,
    "thread_id": WORD,
    "author": {"id": WORD, "name": WORD, "email": WORD, "account": WORD, "segment": WORD},
    "rating": WORD,
    "rating_scale": WORD,
    "created_at": WORD,
    "url": WORD,
    "version": WORD,
    "language": WORD,
    "tags": [WORD],
    "metadata": {"key": WORD, WORD: "value"},
}
BODIES: dict[str, dict[str, Any]] = {
    "postFeedback": FEEDBACK,
    "correctAnalysis": dict.fromkeys(("sentiment", "intent", "urgency", "theme"), WORD) | {"topics": [WORD]},
    "replayDead": {"feedback": [WORD]},
    "editTheme": dict.fromkeys(("name", "status", "severity", "owner"), WORD),
    "mergeTheme": {"into": WORD},
    "splitTheme": {"feedback": [WORD], "proposal": WORD, "name": WORD},
    "moveFeedback": {"feedback": [WORD], "into": WORD},
    "createTopic": {"id": WORD, "name": WORD, "description": WORD, "examples": [WORD]},
    "editTopic": {"name": WORD, "description": WORD, "examples": [WORD], "archived": WORD},
    "exportPerson": {"author_id": WORD, "email": WORD},
    "erasePerson": {"author_id": WORD, "email": WORD},
    "allowPerson": {"author_id": WORD, "email": WORD},
    "createKey": {"role": WORD, "name": WORD, "origins": [WORD]},
    "createSource": {"kind": WORD, "slug": WORD, "channel": WORD},
    "rotateSourceSecret": {"grace_hours": WORD},
    "deliver": FEEDBACK,
}
GOOD = {
    "postFeedback": {"text": "good"},
    "createTopic": {"id": "{n}", "name": "T", "description": "d", "examples": ["e"]},
    "createKey": {"role": "viewer"},
}


class Target:
    """An API with a little of everything behind it, and a path with ids that exist for every operation."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.runtime = client, client.app.state.voice.runtime
        feedback = analysed(client, self.runtime, "I was charged twice", "I cannot log in", "Lovely app")
        event = client.patch(f"/v1/feedback/{feedback[0]}/analysis", json={"urgency": "low"})
        self.ids = {
            "feedback_id": feedback[0],
            "theme_id": make_theme(self.runtime, "theme", feedback),
            "topic_id": client.get("/v1/topics").json()["items"][0]["id"],
            "key_id": client.post("/v1/keys", json={"role": "viewer"}).json()["id"],
            "event_id": event.headers.get("voice-event", "1"),
            "source_id": self._webhook(),
        }

    def _webhook(self) -> str:
        given = {"kind": "webhook", "slug": "hook", "channel": "review"}
        made = self.client.post("/v1/sources", json=given).json()
        self.secret = made["secret"]
        return made["id"]

    def ask(self, method: str, path: str, **sent: Any) -> Response:
        if path.startswith("/v1/hooks/") and "content" in sent:
            sent["headers"] = sent["headers"] | signed(self.secret, sent["content"].encode())
        answer = self.client.request(method, path.format(**self.ids), **sent)
        assert answer.status_code < 500, (method, path, answer.text)
        return answer


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, analyser: Analyser) -> Iterator[Target]:
    with postgres_database() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr("voice.runtime.load_analyser", lambda **_: analyser)
        runtime = make_runtime(url, tmp_path_factory.mktemp("hostile"))
        with serving(runtime, new_key(runtime, "admin")) as client:
            yield Target(client)


OPERATIONS = {o["operationId"]: where for where, o in contract().operations.items()}
QUERIES = [
    (operation["operationId"], parameter["name"])
    for operation in contract().operations.values()
    for parameter in operation.get("parameters", ())
    if parameter["in"] == "query"
]


def leaves(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Paths of every placeholder, in values and in keys."""
    if value == WORD:
        yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if key == WORD:
            yield (*path, {"key": WORD})
        yield from leaves(inner, *path, key)


def only(shape: Any, path: tuple[Any, ...], hostile: str) -> Any:
    """The shape with nothing but this one leaf, holding the hostile text."""
    if not path:
        return hostile
    head, *rest = path
    if isinstance(head, dict):
        return {hostile: "value"}
    if isinstance(shape, list):
        return [only(shape[head], tuple(rest), hostile)]
    return {head: only(shape[head], tuple(rest), hostile)}


def test_every_operation_with_a_body_is_attacked() -> None:
    with_body = {o["operationId"] for o in contract().operations.values() if "requestBody" in o}
    assert set(BODIES) | {"postFeedbackBatch"} == with_body


@pytest.mark.parametrize("name", BODIES)
def test_bodies(target: Target, name: str) -> None:
    method, path = OPERATIONS[name]
    number = 0
    for leaf in leaves(BODIES[name]):
        for hostile in CORPUS:
            number += 1
            good = copy.deepcopy(GOOD.get(name, {}))
            if "id" in good:
                good["id"] = f"t{number}"
            body = good | only(BODIES[name], leaf, hostile)
            target.ask(method, path, content=json.dumps(body), headers=JSON)
            if method == "PATCH" or name == "splitTheme":
                target.ask(method, f"{path}?preview=true", content=json.dumps(body), headers=JSON)


def test_batches(target: Target) -> None:
    bodies = [
        {"text": "good"} | only(FEEDBACK, leaf, hostile) for leaf in leaves(FEEDBACK) for hostile in CORPUS
    ]
    lines = [json.dumps(body).encode() for body in bodies]
    lines += [hostile.encode("utf-8", "surrogatepass").replace(b"\n", b"") for hostile in CORPUS]
    for start in range(0, len(lines), 400):
        answer = target.ask(
            "POST", "/v1/feedback/batch", content=b"\n".join(lines[start : start + 400])
        ).json()
        assert answer["rejected"] + answer["stored"] + answer["updated"] + answer["duplicate"] == len(
            answer["lines"]
        )


@pytest.mark.parametrize(("name", "parameter"), QUERIES)
def test_queries(target: Target, name: str, parameter: str) -> None:
    method, path = OPERATIONS[name]
    for hostile in CORPUS:
        readable = hostile.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        target.ask(method, path, params={parameter: readable[:5_000]})
    for raw in ("%00", "%ED%A0%80", "%FF", "%", "%u0000", "+", "&", "[]"):
        target.ask(method, f"{path}?{parameter}={raw}")


@pytest.mark.parametrize("name", [name for name, (_, path) in OPERATIONS.items() if "{" in path])
def test_paths(target: Target, name: str) -> None:
    method, path = OPERATIONS[name]
    before, _, rest = path.partition("{")
    for raw in (
        "%00",
        "%ED%A0%80",
        "%FF",
        "%2F",
        "%2e%2e",
        "%0A",
        "0" * 26,
        "%F0%9F%98%80" * 200,
        "'",
        "*",
        "9" * 30,
    ):
        target.ask(method, before + raw + rest.partition("}")[2], json={})


@pytest.mark.parametrize(
    "header", ["If-Match", "Idempotency-Key", "Authorization", "X-Forwarded-For", "Content-Type"]
)
def test_headers(target: Target, header: str) -> None:
    for hostile in CORPUS:
        value = hostile.encode("utf-8", "surrogatepass")[:8_000].replace(b"\n", b" ").replace(b"\x00", b"0")
        headers = {header.encode(): value}
        target.ask("PATCH", "/v1/themes/{theme_id}", json={"owner": "ada"}, headers=headers)
        target.ask("POST", "/v1/feedback", content=b'{"text": "good"}', headers={**JSON, header: value})


def storable(text: str) -> bool:
    return (
        bool(text.strip())
        and len(text) <= 10_000
        and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)
    )


def test_what_was_accepted_can_be_analysed_listed_and_counted(target: Target) -> None:
    post(target.client, *(text for text in CORPUS if storable(text)))
    target.runtime.pipeline.drain()
    status = target.client.get("/v1/status").json()
    assert (status["pending"], status["dead"]) == (0, 0)
    cursor, seen = None, 0
    while True:
        params = {"limit": 500} | ({"cursor": cursor} if cursor else {})
        page = target.ask("GET", "/v1/feedback", params=params).json()
        seen += len(page["items"])
        assert {item["status"] for item in page["items"]} <= {"analysed"}
        cursor = page["next"]
        if cursor is None:
            break
    assert seen > 300
    for path in (
        "themes",
        "audit?limit=500",
        "topics",
        "keys",
        "trends?by=segment&limit=500",
        "trends?by=source",
    ):
        target.ask("GET", f"/v1/{path}")
    assert_exact(target.runtime.database, first_project(target.runtime))
