"""Small acts that many tests of the API need."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import text

from api.app import create_app
from tests.conftest import first_project
from voice.accounts import create_key, create_project, find_project
from voice.analysis.vectors import pack
from voice.db.session import Database
from voice.runtime import Runtime
from voice.themes import ledger

JSON = {"Content-Type": "application/json"}
TABLES = [
    "analyses",
    "corrections",
    "events",
    "feedback",
    "feedback_topics",
    "keys",
    "lineage",
    "marginals",
    "people",
    "projects",
    "responses",
    "sources",
    "themes",
    "topics",
]


def post_all(client: TestClient, bodies: Iterable[dict[str, Any]]) -> list[str]:
    """Store many in one request; their ids."""
    lines = "\n".join(map(json.dumps, bodies)).encode()
    answer = client.post("/v1/feedback/batch", content=lines)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] == 0, answer.text
    return [line["id"] for line in answer.json()["lines"]]


def post(client: TestClient, *texts: str, **fields: Any) -> list[str]:
    """Store one feedback per text, in one request; their ids."""
    return post_all(client, ({"text": one, **fields} for one in texts))


def analysed(client: TestClient, runtime: Runtime, *texts: str, **fields: Any) -> list[str]:
    """Post and analyse; the ids."""
    ids = post(client, *texts, **fields)
    runtime.pipeline.drain()
    return ids


def items(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    """Feedback that passes the filters, at most 500."""
    answer = client.get("/v1/feedback", params={"limit": 500, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def ids_of(client: TestClient, **params: Any) -> set[str]:
    """The ids of the feedback that passes the filters."""
    return {item["id"] for item in items(client, **params)}


def refused(response: Response, status: int, *fields: str) -> dict[str, Any]:
    """The problem document of a refusal; `fields` are the named ones, in any order."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    if fields:
        assert sorted(error["field"] for error in body["errors"]) == sorted(fields), body
        assert all(error["message"] for error in body["errors"])
    return body


def project_of(runtime: Runtime, slug: str) -> str:
    """The id of a project."""
    with runtime.database.read() as session:
        return find_project(session, slug).id


def make_theme(
    runtime: Runtime,
    name: str,
    members: Sequence[str] = (),
    *,
    centre: str | None = None,
    project_id: str | None = None,
) -> str:
    """A theme as discovery makes one, with these members; its id. Without `centre` it takes nothing new."""
    centroid = None if centre is None else pack(runtime.analyser.embed([centre])[0])
    values = {
        "project_id": project_id or first_project(runtime),
        "name": name,
        "encoder": runtime.analyser.encoder_name,
        "algorithm": "test",
        "centroid": centroid,
        "threshold": 0.5,
        "quotes": list(members[:2]),
    }
    now = runtime.clock()
    with runtime.database.write() as session:
        theme = ledger.create(session, values, kind="theme.discovered", actor="themes", now=now, as_of=now)
        ledger.place(session, list(members), theme.id, by="model")
        return theme.id


def state_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row that a person could notice: two equal states mean that nothing changed."""
    with database.read() as session:
        return {
            table: sorted(map(tuple, session.execute(text(f"SELECT * FROM {table}"))), key=repr)
            for table in TABLES
        }


def bytes_on_disk(runtime: Runtime) -> str:
    """Every byte of an SQLite database and its write-ahead log; nothing of PostgreSQL."""
    if not runtime.settings.is_embedded_database:
        return ""
    path = Path(runtime.database.engine.url.database or "")
    return "".join(one.read_bytes().decode("latin-1") for one in path.parent.glob(f"{path.name}*"))


def checkpoint(runtime: Runtime) -> None:
    """Bring everything into the SQLite file itself and empty the write-ahead log."""
    if runtime.settings.is_embedded_database:
        with runtime.database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; a test that waits in vain fails after half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.005)


@contextmanager
def serving(runtime: Runtime, key: str | None = None, **options: Any) -> Iterator[TestClient]:
    """An API on this Runtime, asked with this key."""
    with TestClient(create_app(runtime=runtime), raise_server_exceptions=False, **options) as client:
        if key is not None:
            client.headers["Authorization"] = f"Bearer {key}"
        yield client


def other_project(runtime: Runtime, slug: str = "other", role: str = "admin") -> str:
    """A second project; the plain text of a key of it."""
    now = runtime.clock()
    with runtime.database.write() as session:
        project = create_project(session, slug=slug, name=slug, actor="test", now=now)
        _, plain = create_key(session, project_id=project.id, role=role, name=role, actor="test", now=now)
    return plain
