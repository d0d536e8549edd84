"""Who is asking, projects, keys, the trail of changes, and the state of the service."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import analysed, other_project, post, refused
from tests.conftest import first_project, new_key
from voice.clock import rfc3339
from voice.db.ticks import end_tick, take_tick
from voice.runtime import Runtime
from voice.themes.evaluate import evaluate


def test_me(shared: TestClient) -> None:
    me = shared.get("/v1/me").json()
    assert (me["role"], me["project"], me["project_name"]) == ("admin", "main", "main")
    assert me["key"] in {key["id"] for key in shared.get("/v1/keys").json()["items"]}


def test_a_key_sees_its_own_project_only(sqlite_client: TestClient, sqlite_runtime: Runtime) -> None:
    theirs = {"Authorization": f"Bearer {other_project(sqlite_runtime)}"}
    assert [one["slug"] for one in sqlite_client.get("/v1/projects").json()["items"]] == ["main"]
    assert [one["slug"] for one in sqlite_client.get("/v1/projects", headers=theirs).json()["items"]] == [
        "other"
    ]
    mine = {key["id"] for key in sqlite_client.get("/v1/keys").json()["items"]}
    assert not mine & {key["id"] for key in sqlite_client.get("/v1/keys", headers=theirs).json()["items"]}


def test_keys_of_every_role(sqlite_client: TestClient) -> None:
    for role in ("widget", "ingest", "viewer", "triager", "admin"):
        body = {"role": role, "name": f"the {role}", "origins": ["https://shop.example.com"]}
        made = sqlite_client.post("/v1/keys", json=body).json()
        assert {name: made[name] for name in body} == body
        assert (made["revoked_at"], made["last_used_at"]) == (None, None)
    assert len(sqlite_client.get("/v1/keys").json()["items"]) == 6


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "role"),
        ({"role": "owner"}, "role"),
        ({"role": "viewer", "name": ""}, "name"),
        ({"role": "viewer", "name": "x" * 201}, "name"),
        ({"role": "viewer", "name": "a\x00"}, "name"),
        ({"role": "viewer", "origins": "x"}, "origins"),
        ({"role": "viewer", "project": "other"}, "project"),
        ({"role": "viewer", "hash": "x"}, "hash"),
    ],
)
def test_bad_keys(shared: TestClient, body: dict[str, object], field: str) -> None:
    refused(shared.post("/v1/keys", json=body), 422, field)


@pytest.mark.parametrize("key_id", ["x", "0" * 26, "%00", "a" * 300, "..", "0" * 25 + "%20"])
def test_keys_that_are_not_there(shared: TestClient, key_id: str) -> None:
    refused(shared.delete(f"/v1/keys/{key_id}"), 404)


def test_the_trail_says_who_did_what(client: TestClient, runtime: Runtime) -> None:
    me = client.get("/v1/me").json()["key"]
    made = client.post("/v1/keys", json={"role": "viewer", "name": "dashboard"}).json()["id"]
    client.delete(f"/v1/keys/{made}")
    [feedback] = analysed(client, runtime, "words")
    client.patch(f"/v1/feedback/{feedback}/analysis", json={"topics": []})
    events = client.get("/v1/audit", params={"limit": 500}).json()["items"]
    assert [event["id"] for event in events] == sorted((e["id"] for e in events), reverse=True)
    about_key = [(e["kind"], e["actor"]) for e in events if e["subject_id"] == made]
    assert about_key == [("key.revoked", f"key:{me}"), ("key.created", f"key:{me}")]
    by_subject = client.get("/v1/audit", params={"subject": made}).json()["items"]
    assert [event["kind"] for event in by_subject] == ["key.revoked", "key.created"]
    wanted = ["key.revoked", "feedback.analysed"]
    by_kind = client.get("/v1/audit", params={"kind": wanted}).json()["items"]
    assert sorted(event["kind"] for event in by_kind) == sorted(wanted)


def test_the_trail_page_by_page_while_it_grows(client: TestClient) -> None:
    for number in range(7):
        client.post("/v1/keys", json={"role": "viewer", "name": f"{number}"})
    whole = [event["id"] for event in client.get("/v1/audit", params={"limit": 500}).json()["items"]]
    walked, cursor = [], None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/audit", params=params).json()
        walked += [event["id"] for event in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        client.post("/v1/keys", json={"role": "viewer"})
    assert walked == whole


@pytest.mark.parametrize(
    "cursor", ["x", "W10", "WzBd", "Wy0xXQ", "WyJhIl0", "WzEuNV0", "WzFlOTld", "WzEsMl0"]
)
def test_cursors_that_nobody_gave_out(shared: TestClient, cursor: str) -> None:
    refused(shared.get("/v1/audit", params={"cursor": cursor}), 422, "cursor")


@pytest.mark.parametrize("event_id", ["0", "-1", "x", "1e3", "9" * 18, "9" * 40, "%00", "１"])
def test_events_that_are_not_there(shared: TestClient, event_id: str) -> None:
    refused(shared.post(f"/v1/events/{event_id}/undo"), 404)


def test_what_cannot_be_undone(sqlite_client: TestClient) -> None:
    sqlite_client.post("/v1/keys", json={"role": "viewer"})
    [event] = sqlite_client.get("/v1/audit", params={"kind": "key.created", "limit": 1}).json()["items"]
    refused(sqlite_client.post(f"/v1/events/{event['id']}/undo"), 409)


def test_status(client: TestClient, runtime: Runtime) -> None:
    status = client.get("/v1/status").json()
    assert (status["pending"], status["dead"], status["oldest_pending_seconds"]) == (0, 0, 0)
    assert (status["evaluated_at"], status["evaluations"]) == (None, [])
    post(client, "fine", "poison")
    waiting = client.get("/v1/status").json()
    assert (waiting["pending"], waiting["dead"]) == (2, 0)
    assert waiting["oldest_pending_seconds"] >= 0
    for _ in range(7):
        runtime.pipeline.drain()
    after = client.get("/v1/status").json()
    assert (after["pending"], after["dead"], after["writer_waiting"]) == (0, 1, 0)


def test_status_shows_evaluations(sqlite_client: TestClient, sqlite_runtime: Runtime) -> None:
    project_id, now = first_project(sqlite_runtime), sqlite_runtime.clock()
    evaluate(
        sqlite_runtime.database,
        sqlite_runtime.analyser,
        project_id,
        as_of=now,
        now=now,
        window_days=28,
        window_items=100,
    )
    for minutes, error in ((10, "ValueError"), (5, None)):
        tick, started = f"t-{minutes}", now - timedelta(minutes=minutes)
        with sqlite_runtime.database.write() as session:
            take_tick(session, f"evaluate:{project_id}", tick, now=started)
            end_tick(session, f"evaluate:{project_id}", tick, now=now, error=error)
    status = sqlite_client.get("/v1/status").json()
    assert status["evaluated_at"] == rfc3339(now)
    assert sqlite_client.get("/v1/projects").json()["items"][0]["evaluated_at"] == rfc3339(now)
    assert [(run["as_of"], run["error"]) for run in status["evaluations"]] == [
        ("t-5", None),
        ("t-10", "ValueError"),
    ]


def test_a_viewer_may_look_at_the_trail_but_not_at_keys(shared: TestClient) -> None:
    theirs = {"Authorization": f"Bearer {new_key(shared.app.state.voice.runtime, 'viewer')}"}
    assert shared.get("/v1/audit", headers=theirs).status_code == 200
    refused(shared.get("/v1/keys", headers=theirs), 403)
