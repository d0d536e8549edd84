"""Who may do what: every operation × role from the contract itself, foreign ids, and the life of a key."""

import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from tests.api.contract import contract
from tests.api.helpers import (
    analysed,
    make_theme,
    other_project,
    post,
    project_of,
    refused,
    serving,
    state_of,
    wait_until,
)
from tests.conftest import new_key
from voice.accounts import ROLES
from voice.db.tables import Event, Key
from voice.runtime import Runtime

PUBLIC = {"getHealth", "getReadiness", "getMetrics"}
WRITE = {"postFeedback": {"widget", "ingest", "admin"}, "postFeedbackBatch": {"ingest", "admin"}}
VIEW = {
    "listFeedback",
    "getFeedback",
    "listDead",
    "listThemes",
    "getTheme",
    "getTrends",
    "listTopics",
    "getTopic",
    "getMe",
    "listProjects",
    "listAudit",
    "getStatus",
}
TRIAGE = {"correctAnalysis", "editTheme", "mergeTheme", "splitTheme", "moveFeedback", "undoEvent"}
ADMINISTER = {
    "replayDead",
    "createTopic",
    "editTopic",
    "exportPerson",
    "erasePerson",
    "listKeys",
    "createKey",
    "revokeKey",
}
ALLOWED = (
    {name: {*ROLES} for name in PUBLIC}
    | WRITE
    | {name: {"viewer", "triager", "admin"} for name in VIEW}
    | {name: {"triager", "admin"} for name in TRIAGE}
    | {name: {"admin"} for name in ADMINISTER}
)
OPERATIONS = [
    (method, path, operation["operationId"]) for (method, path), operation in contract().operations.items()
]


def test_the_table_knows_every_operation() -> None:
    assert {name for *_, name in OPERATIONS} == set(ALLOWED)


def test_the_contract_says_which_operations_need_a_key() -> None:
    secured = {o["operationId"] for o in contract().operations.values() if o.get("security")}
    assert secured == set(ALLOWED) - PUBLIC


@pytest.fixture(scope="module")
def keys(shared: TestClient) -> dict[str, str]:
    return {role: new_key(shared.app.state.voice.runtime, role) for role in ROLES}


def ask(client: TestClient, method: str, path: str, authorization: str | None) -> int:
    """Ask with a body that no operation accepts, so that nothing is changed by whoever is let in."""
    sent = {} if authorization is None else {"Authorization": authorization}
    url = path.replace("{event_id}", "1").replace("{topic_id}", "billing")
    for name in ("feedback_id", "theme_id", "key_id"):
        url = url.replace(f"{{{name}}}", "0" * 26)
    original = client.headers.pop("Authorization")
    try:
        answer = client.request(method, url, headers=sent, json={} if method in ("POST", "PATCH") else None)
    finally:
        client.headers["Authorization"] = original
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if answer.status_code in (401, 403):
        refused(answer, answer.status_code)
    return answer.status_code


@pytest.mark.parametrize(("method", "path", "name"), OPERATIONS)
def test_roles(shared: TestClient, keys: dict[str, str], method: str, path: str, name: str) -> None:
    for role in ROLES:
        status = ask(shared, method, path, f"Bearer {keys[role]}")
        if role in ALLOWED[name]:
            assert status not in (401, 403), role
        else:
            assert status == 403, role
    no_key = {ask(shared, method, path, sent) for sent in (None, "Bearer", "Bearer ", "Basic eDp5")}
    assert (no_key == {401}) == (name not in PUBLIC)


def test_keys_that_are_none(shared: TestClient, keys: dict[str, str]) -> None:
    good = keys["admin"]
    swapped = good[:-1] + ("A" if good[-1] != "A" else "B")
    bad = [good[:-1], good + "x", swapped, good.upper(), "voice_", "x" * 10_000, good.removeprefix("voice_")]
    for key in bad:
        assert ask(shared, "GET", "/v1/me", f"Bearer {key}") == 401
    assert ask(shared, "GET", "/v1/me", f"bearer   {good} ") == 200


def test_key_that_is_not_ascii(shared: TestClient) -> None:
    headers = {b"Authorization": "Bearer voice_ä".encode("latin-1")}
    assert shared.get("/v1/me", headers=headers).status_code == 401  # type: ignore[arg-type]


@pytest.fixture
def theirs(sqlite_runtime: Runtime) -> dict[str, str]:
    """Ids of another project: feedback (analysed and dead), a theme, a topic, a key and an event."""
    with serving(sqlite_runtime, other_project(sqlite_runtime)) as client:
        [feedback] = analysed(client, sqlite_runtime, "their words")
        topic = {"id": "their-topic", "name": "T", "description": "d", "examples": ["e"]}
        assert client.post("/v1/topics", json=topic).status_code == 201
        corrected = client.patch(f"/v1/feedback/{feedback}/analysis", json={"topics": ["their-topic"]})
        [dead] = post(client, "poison")
        for _ in range(6):
            sqlite_runtime.pipeline.drain()
        found = {"feedback": feedback, "dead": dead, "key": client.get("/v1/me").json()["key"]}
    project_id = project_of(sqlite_runtime, "other")
    theme = make_theme(sqlite_runtime, "Theirs", [feedback], project_id=project_id)
    return found | {"theme": theme, "event": corrected.headers["voice-event"]}


def in_the_path(theirs: dict[str, str], ours: dict[str, str]) -> dict[str, tuple[str, Any]]:
    """For every operation with an id in its path: a request that would work in the other project."""
    feedback, theme = f"/v1/feedback/{theirs['feedback']}", f"/v1/themes/{theirs['theme']}"
    return {
        "getFeedback": (feedback, None),
        "correctAnalysis": (f"{feedback}/analysis", {"intent": "other"}),
        "getTheme": (theme, None),
        "editTheme": (theme, {"name": "x"}),
        "mergeTheme": (f"{theme}/merge", {"into": ours["theme"]}),
        "splitTheme": (f"{theme}/split", {"feedback": [theirs["feedback"]]}),
        "moveFeedback": (f"{theme}/move", {"feedback": [theirs["feedback"]]}),
        "getTopic": ("/v1/topics/their-topic", None),
        "editTopic": ("/v1/topics/their-topic", {"name": "x"}),
        "revokeKey": (f"/v1/keys/{theirs['key']}", None),
        "undoEvent": (f"/v1/events/{theirs['event']}/undo", None),
    }


def in_the_body(theirs: dict[str, str], ours: dict[str, str]) -> list[tuple[int, str, str, Any]]:
    """Requests about our own things that name one of theirs."""
    feedback, theme = f"/v1/feedback/{ours['feedback']}", f"/v1/themes/{ours['theme']}"
    return [
        (404, "PATCH", f"{feedback}/analysis", {"theme": theirs["theme"]}),
        (422, "PATCH", f"{feedback}/analysis", {"topics": ["their-topic"]}),
        (404, "POST", f"{theme}/merge", {"into": theirs["theme"]}),
        (404, "POST", f"{theme}/move", {"feedback": [ours["feedback"]], "into": theirs["theme"]}),
        (422, "POST", f"{theme}/move", {"feedback": [theirs["feedback"]]}),
        (422, "POST", f"{theme}/split", {"feedback": [ours["feedback"], theirs["feedback"]]}),
        (404, "POST", "/v1/dead/replay", {"feedback": [theirs["dead"]]}),
    ]


def test_ids_of_another_project(
    sqlite_client: TestClient, sqlite_runtime: Runtime, theirs: dict[str, str]
) -> None:
    [feedback] = analysed(sqlite_client, sqlite_runtime, "our words")
    ours = {"feedback": feedback, "theme": make_theme(sqlite_runtime, "Ours", [feedback])}
    before = state_of(sqlite_runtime.database)
    asked = in_the_path(theirs, ours)
    assert set(asked) == {name for _, path, name in OPERATIONS if "{" in path}
    for method, _, name in OPERATIONS:
        if name in asked:
            path, body = asked[name]
            refused(sqlite_client.request(method, path, json=body), 404)
            if name in ("editTheme", "mergeTheme", "splitTheme", "moveFeedback", "editTopic"):
                refused(sqlite_client.request(method, f"{path}?preview=true", json=body), 404)
    for status, method, path, body in in_the_body(theirs, ours):
        refused(sqlite_client.request(method, path, json=body), status)
    assert state_of(sqlite_runtime.database) == before


def test_lists_and_trends_of_another_project(
    sqlite_client: TestClient, sqlite_runtime: Runtime, theirs: dict[str, str]
) -> None:
    for path in ("/v1/feedback", "/v1/themes", "/v1/dead"):
        assert sqlite_client.get(path).json()["items"] == []
        assert sqlite_client.get(path, params={"theme": theirs["theme"]}).json()["items"] == []
    assert sqlite_client.get("/v1/feedback", params={"like": theirs["feedback"]}).json()["items"] == []
    for query in ({}, {"by": "theme"}, {"theme": theirs["theme"]}, {"by": "topic", "topic": "their-topic"}):
        series = sqlite_client.get("/v1/trends", params=query).json()["series"]
        assert not any(point["n"] for one in series for point in one["points"])
    audit = sqlite_client.get("/v1/audit", params={"limit": 500}).json()["items"]
    assert not {event["subject_id"] for event in audit} & {*theirs.values()}
    status = sqlite_client.get("/v1/status").json()
    assert (status["pending"], status["dead"]) == (0, 0)


def test_a_key_is_shown_once(client: TestClient, runtime: Runtime) -> None:
    made = client.post("/v1/keys", json={"role": "viewer", "name": "dashboard"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert key.startswith("voice_")
    assert len(key) == len("voice_") + 43  # 256 bits in base64
    assert client.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).json()["role"] == "viewer"
    for path in ("/v1/keys", "/v1/audit"):
        assert key not in client.get(path).text
    with runtime.database.read() as session:
        row = session.get_one(Key, made.json()["id"])
    assert row.hash == hashlib.sha256(key.encode()).hexdigest()


def test_a_revoked_key_is_refused(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.deps.KEY_CACHE_SECONDS", 0.05)
    key = new_key(runtime, "viewer")
    theirs = {"Authorization": f"Bearer {key}"}
    key_id = client.get("/v1/me", headers=theirs).json()["key"]
    revoked = client.delete(f"/v1/keys/{key_id}").json()
    assert revoked["revoked_at"] is not None
    wait_until(lambda: client.get("/v1/me", headers=theirs).status_code == 401)
    assert client.delete(f"/v1/keys/{key_id}").json() == revoked
    with runtime.database.read() as session:
        events = session.scalars(select(Event.kind).where(Event.subject_id == key_id)).all()
    assert sorted(events) == ["key.created", "key.revoked"]


def test_a_key_that_revokes_itself_is_gone(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.deps.KEY_CACHE_SECONDS", 0.0)
    theirs = {"Authorization": f"Bearer {new_key(runtime, 'admin')}"}
    key_id = client.get("/v1/me", headers=theirs).json()["key"]
    assert client.delete(f"/v1/keys/{key_id}", headers=theirs).status_code == 200
    refused(client.get("/v1/keys", headers=theirs), 401)


def test_last_use_is_noted(sqlite_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.deps.USE_FLUSH_SECONDS", 0.02)
    with serving(sqlite_runtime, new_key(sqlite_runtime, "admin")) as client:
        key_id = client.get("/v1/me").json()["key"]

        def last_used() -> str | None:
            [key] = [one for one in client.get("/v1/keys").json()["items"] if one["id"] == key_id]
            return key["last_used_at"]

        wait_until(lambda: last_used() is not None)
        noted = last_used()
        ring = client.app.state.voice.keys
        ring._write_uses({key_id})  # within the minute: not written again
        assert last_used() == noted
