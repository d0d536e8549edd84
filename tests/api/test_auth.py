"""The life of a key. Who may do what with one: tests/security/test_permissions.py."""

import hashlib

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from tests.api.helpers import (
    refused,
    serving,
    wait_until,
)
from tests.conftest import new_key
from voice.db.tables import Event, Key
from voice.runtime import Runtime


def ask(client: TestClient, authorization: str) -> int:
    return client.get("/v1/me", headers={"Authorization": authorization}).status_code


def test_keys_that_are_none(shared: TestClient) -> None:
    good = new_key(shared.app.state.voice.runtime, "admin")
    swapped = good[:-1] + ("A" if good[-1] != "A" else "B")
    bad = [good[:-1], good + "x", swapped, good.upper(), "voice_", "x" * 10_000, good.removeprefix("voice_")]
    for key in bad:
        assert ask(shared, f"Bearer {key}") == 401
    assert ask(shared, f"bearer   {good} ") == 200


def test_key_that_is_not_ascii(shared: TestClient) -> None:
    headers = {b"Authorization": "Bearer voice_ä".encode("latin-1")}
    assert shared.get("/v1/me", headers=headers).status_code == 401  # type: ignore[arg-type]


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
