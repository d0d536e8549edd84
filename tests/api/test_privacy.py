"""What is personal is redacted or sealed before it is stored, and is said in no answer, no log and no file."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from sqlalchemy import text

from tests.api.helpers import JSON, bytes_on_disk, checkpoint, items, refused, serving
from tests.conftest import new_key
from voice.db.tables import Base
from voice.feedback.intake import Intake
from voice.logs import configure_logs
from voice.runtime import Runtime

EMAIL, CARD, PHONE = "jane.roe@mailhost-seven.com", "4111 1111 1111 1111", "+49 30 901820"
AUTHOR = {"id": "customer-778899", "name": "Philippa Quastenfeld", "email": "quastenfeld@private-mail.net"}
PLANTED = (EMAIL, CARD, PHONE, CARD.replace(" ", ""), *AUTHOR.values())

BODY = {
    "text": f"My card {CARD} was charged twice, write to {EMAIL} or call {PHONE}",
    "title": f"Refund {EMAIL}",
    "tags": [EMAIL, "billing"],
    "url": f"https://example.com/orders?email={EMAIL}&page=2",
    "metadata": {"contact": EMAIL, "nested": [{"card": CARD}]},
    "author": AUTHOR | {"account": "acme", "segment": "pro"},
}


def kept(runtime: Runtime) -> str:
    """Every value of every row of every table, and on SQLite every byte of its files."""
    with runtime.database.read() as session:
        rows = [
            session.execute(text(f"SELECT * FROM {table.name}")).all()
            for table in Base.metadata.sorted_tables
        ]
    return repr(rows) + bytes_on_disk(runtime)


def test_nothing_personal_reaches_the_database(client: TestClient, runtime: Runtime) -> None:
    assert client.post("/v1/feedback", json=BODY).status_code == 202
    line = json.dumps(BODY | {"external_id": "e"}).encode()
    assert client.post("/v1/feedback/batch", content=line).json()["stored"] == 1
    runtime.pipeline.drain()
    for _ in range(2):  # the write-ahead log as it is, then everything in the file itself
        everything = kept(runtime)
        assert "charged twice" in everything
        assert [secret for secret in PLANTED if secret in everything] == []
        checkpoint(runtime)


def test_typed_placeholders_say_what_was_there(sqlite_client: TestClient) -> None:
    sqlite_client.post("/v1/feedback", json=BODY)
    [item] = items(sqlite_client)
    assert item["text"].startswith("My card [")
    assert "charged twice" in item["text"]
    assert item["tags"][1] == "billing"
    assert item["url"].startswith("https://example.com/orders?")
    assert item["redacted"]
    assert all(count > 0 for count in item["redacted"].values())
    assert EMAIL not in json.dumps(item)


def test_the_author_is_shown_unsealed_but_without_email(sqlite_client: TestClient) -> None:
    sqlite_client.post("/v1/feedback", json=BODY)
    [item] = items(sqlite_client)
    assert item["author"] == {
        "id": AUTHOR["id"],
        "name": AUTHOR["name"],
        "account": "acme",
        "segment": "pro",
    }


def test_two_projects_know_one_person_by_two_hashes(sqlite_runtime: Runtime) -> None:
    keys = {sqlite_runtime.secrets.person_key(project, "email", EMAIL) for project in ("a", "b")}
    assert len(keys) == 2


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The log as a process writes it."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    root = logging.getLogger()
    handlers, level, before = root.handlers, root.level, structlog.get_config()
    configure_logs("INFO", process="test")
    structlog.configure(**structlog.get_config() | {"cache_logger_on_first_use": False})
    yield written
    root.handlers, root.level = handlers, level
    structlog.configure(**before)


def test_an_unforeseen_failure_is_logged_without_words(
    sqlite_runtime: Runtime, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot redact: secret words of a customer")

    monkeypatch.setattr(Intake, "prepare", fail)
    with serving(sqlite_runtime, key := new_key(sqlite_runtime, "admin")) as client:
        answer = client.post("/v1/feedback", json={"text": "secret words of a customer"})
    body = refused(answer, 500)
    assert body["title"] == "Internal error"
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    written = log.getvalue()
    assert "request_failed" in written
    assert "RuntimeError" in written
    assert "secret words" not in written
    assert key not in written


def test_the_log_repeats_neither_bodies_nor_keys(sqlite_runtime: Runtime, log: io.StringIO) -> None:
    with serving(sqlite_runtime, key := new_key(sqlite_runtime, "admin")) as client:
        client.post("/v1/feedback", json={"text": "poison in secret words"})
        client.post("/v1/feedback", content=b'{"text": "secret words', headers=JSON)
        client.get("/v1/feedback", params={"q": "secret words"})
        for _ in range(6):
            sqlite_runtime.pipeline.drain()
        assert client.get("/v1/dead").json()["items"]
    written = log.getvalue()
    assert "batch_failed" in written
    assert "secret words" not in written
    assert key not in written


def test_keys_are_kept_as_hashes_only(client: TestClient, runtime: Runtime, tmp_path: Path) -> None:
    made = client.post("/v1/keys", json={"role": "viewer", "name": "dashboard"}).json()
    checkpoint(runtime)
    everything = kept(runtime)
    assert made["prefix"] in everything
    assert made["key"] not in everything
    assert made["key"][len(made["prefix"]) :] not in everything
