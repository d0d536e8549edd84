"""Whose it is: no operation reads or changes anything of another project, whatever ids it is given."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from tests.api.contract import contract
from tests.api.helpers import (
    make_theme,
    other_project,
    post,
    post_all,
    project_of,
    refused,
    serving,
)
from tests.conftest import new_key
from tests.security.needs import ACTS, NEEDS, OPERATIONS, PUBLIC, SIGNED, ask
from voice.accounts import ROLES
from voice.db.tables import Base
from voice.runtime import Runtime

MARK = "quartzite"
"""A word that only the other project knows."""


@dataclass
class Project:
    """A project with a little of everything in it."""

    key: str
    project_id: str
    ids: dict[str, str]
    cursors: dict[str, str]


def furnish(runtime: Runtime, key: str, slug: str, word: str) -> Project:
    with serving(runtime, key) as client:
        bodies = [
            {
                "text": f"{word} words {n}",
                "title": word,
                "tags": [word],
                "source": word,
                "external_id": f"{word}-{n}",
                "response_id": word,
                "rating": 3,
                "rating_scale": "csat",
                "author": {
                    "id": f"{word}-{n}",
                    "name": word,
                    "email": f"{n}@{word}.example",
                    "account": word,
                },
                "version": word,
                "metadata": {word: word},
            }
            for n in range(4)
        ]
        feedback = post_all(client, bodies)
        client.post("/v1/feedback", json={"text": word}, headers={"Idempotency-Key": word})
        runtime.pipeline.drain()
        topic = {"id": f"{word}-topic", "name": word, "description": word, "examples": [word]}
        assert client.post("/v1/topics", json=topic).status_code == 201
        said = {"topics": [f"{word}-topic"], "intent": "praise"}
        corrected = client.patch(f"/v1/feedback/{feedback[0]}/analysis", json=said)
        [dead] = post(client, f"poison {word}")
        for _ in range(6):
            runtime.pipeline.drain()
        project_id = project_of(runtime, slug)
        themes = [
            make_theme(runtime, f"{word} {n}", feedback[n : n + 1], project_id=project_id) for n in range(2)
        ]
        merged = make_theme(runtime, f"{word} old", feedback[2:3], project_id=project_id)
        assert client.post(f"/v1/themes/{merged}/merge", json={"into": themes[0]}).status_code == 200
        source = {"kind": "webhook", "slug": f"{word}-hook", "channel": "review"}
        ids = {
            "feedback_id": feedback[0],
            "dead": dead,
            "theme_id": themes[0],
            "alias": merged,
            "other_theme": themes[1],
            "topic_id": f"{word}-topic",
            "key_id": client.get("/v1/me").json()["key"],
            "event_id": corrected.headers["voice-event"],
            "source_id": client.post("/v1/sources", json=source).json()["id"],
        }
        cursors = {
            path: client.get(path, params={"limit": 1}).json()["next"]
            for path in ("/v1/feedback", "/v1/themes", "/v1/audit")
        }
        return Project(key, project_id, ids, cursors)


@pytest.fixture(scope="module")
def ours(installation: Runtime) -> Project:
    return furnish(installation, new_key(installation, "admin"), "main", "basalt")


@pytest.fixture(scope="module")
def theirs(installation: Runtime) -> Project:
    return furnish(installation, other_project(installation), "other", MARK)


# How rows of tables that name no project belong to one.
_THROUGH = {
    "feedback_topics": ("feedback_id", "feedback"),
    "idempotency": ("key_id", "keys"),
    "lineage": ("parent_id", "themes"),
    "webhook_deliveries": ("source_id", "sources"),
}
_OF_NOBODY = {"vault", "job_runs"}


def dump(runtime: Runtime, project_id: str) -> dict[str, list[str]]:
    """Every row of one project."""
    with runtime.database.read() as session:
        return {
            table.name: sorted(map(repr, _rows(session, table, project_id)))
            for table in Base.metadata.sorted_tables
            if table.name not in _OF_NOBODY
        }


def _rows(session: Session, table: Table, project_id: str) -> list[Any]:
    if table.name == "projects":
        mine = table.c.id == project_id
    elif "project_id" in table.c:
        mine = table.c.project_id == project_id
    else:
        column, owner = _THROUGH[table.name]
        parent = Base.metadata.tables[owner]
        mine = table.c[column].in_(select(parent.c.id).where(parent.c.project_id == project_id))
    return list(session.execute(table.select().where(mine)))


def test_the_dump_sees_every_table(installation: Runtime, theirs: Project) -> None:
    filled = {name for name, rows in dump(installation, theirs.project_id).items() if rows}
    # Tables of features that the other project has not used, and of files that were imported.
    assert set(Base.metadata.tables) - filled - _OF_NOBODY <= {
        "imports",
        "erasures",
        "suppressions",
        "webhook_deliveries",
    }


Bodies = Callable[[dict[str, str], dict[str, str]], list[tuple[dict[str, Any], int]]]


def _no_ids(_ours: dict[str, str], _theirs: dict[str, str]) -> list[tuple[dict[str, Any], int]]:
    return []


FOREIGN: dict[str, Bodies] = {
    "postFeedback": _no_ids,
    "postFeedbackBatch": _no_ids,
    "deliver": _no_ids,
    "createTopic": _no_ids,
    "createSource": _no_ids,
    "createKey": _no_ids,
    "editTopic": _no_ids,
    "editTheme": _no_ids,
    "rotateSourceSecret": _no_ids,
    "correctAnalysis": lambda _, t: [
        ({"theme": t["theme_id"]}, 404),
        ({"theme": t["alias"]}, 404),
        ({"topics": [t["topic_id"]]}, 422),
    ],
    "replayDead": lambda o, t: [
        ({"feedback": [t["dead"]]}, 404),
        ({"feedback": [o["dead"], t["dead"]]}, 404),
    ],
    "mergeTheme": lambda _, t: [({"into": t["theme_id"]}, 404), ({"into": t["alias"]}, 404)],
    "splitTheme": lambda o, t: [
        ({"feedback": [t["feedback_id"]]}, 422),
        ({"feedback": [o["feedback_id"], t["feedback_id"]]}, 422),
        ({"proposal": t["theme_id"]}, 409),
    ],
    "moveFeedback": lambda o, t: [
        ({"feedback": [o["feedback_id"]], "into": t["theme_id"]}, 404),
        ({"feedback": [o["feedback_id"]], "into": t["alias"]}, 404),
        ({"feedback": [t["feedback_id"]], "into": None}, 422),
        ({"feedback": [o["feedback_id"], t["feedback_id"]], "into": o["other_theme"]}, 422),
    ],
    "exportPerson": lambda _, t: [({"author_id": f"{MARK}-0"}, 0), ({"email": f"0@{MARK}.example"}, 0)],
    "erasePerson": lambda _, t: [({"author_id": f"{MARK}-0"}, 0), ({"email": f"0@{MARK}.example"}, 0)],
    "allowPerson": lambda _, t: [({"author_id": f"{MARK}-0"}, 0), ({"email": f"0@{MARK}.example"}, 0)],
}
"""By operation with a body: the bodies that name things of the other project, and the answer (0: any)."""

ACCEPTED = {
    "correctAnalysis": {"intent": "other"},
    "editTheme": {"name": "ours now"},
    "mergeTheme": lambda o: {"into": o["theme_id"]},
    "splitTheme": lambda t: {"feedback": [t["feedback_id"]]},
    "moveFeedback": lambda t: {"feedback": [t["feedback_id"]]},
    "editTopic": {"name": "ours now"},
    "rotateSourceSecret": {},
    "deliver": {"text": "x"},
}
PREVIEWED = {"editTheme", "mergeTheme", "splitTheme", "moveFeedback", "editTopic", "createTopic"}


def test_every_body_is_attacked() -> None:
    assert {o["operationId"] for o in contract().operations.values() if "requestBody" in o} == set(FOREIGN)


@pytest.fixture(scope="module")
def keys(installation: Runtime) -> dict[str, str]:
    return {role: f"Bearer {new_key(installation, role)}" for role in ROLES}


def test_ids_of_another_project_in_the_path(
    api: TestClient, installation: Runtime, keys: dict[str, str], ours: Project, theirs: Project
) -> None:
    """A request that would work there, from every role here: 404, or 403 where the role may not do it at home."""
    before = dump(installation, theirs.project_id), dump(installation, ours.project_id)
    for method, path, name in OPERATIONS:
        if "{" not in path:
            continue
        body = ACCEPTED.get(name)
        if callable(body):
            body = body(ours.ids if name == "mergeTheme" else theirs.ids)
        sent = {} if body is None else {"json": body}
        url = path.format(**theirs.ids)
        for role in ROLES:
            for suffix in ("", "?preview=true") if name in PREVIEWED else ("",):
                answer = ask(api, method, url + suffix, keys[role], **sent)
                allowed = NEEDS[name] in ACTS[role]
                refused(answer, 401 if NEEDS[name] == SIGNED else 404 if allowed else 403)
                assert MARK not in answer.text.replace(f"{MARK}-", ""), (name, answer.text)
        if path.startswith("/v1/themes/{theme_id}"):
            refused(ask(api, method, path.format(theme_id=theirs.ids["alias"]), keys["admin"], **sent), 404)
    assert (dump(installation, theirs.project_id), dump(installation, ours.project_id)) == before


def test_ids_of_another_project_in_the_body(
    api: TestClient, installation: Runtime, keys: dict[str, str], ours: Project, theirs: Project
) -> None:
    before = dump(installation, theirs.project_id)
    for method, path, name in OPERATIONS:
        for body, status in FOREIGN[name](ours.ids, theirs.ids) if name in FOREIGN else ():
            url = path.format(**ours.ids)
            for suffix in ("?preview=true", "") if name in PREVIEWED else ("",):
                answer = ask(api, method, url + suffix, keys["admin"], json=body)
                assert answer.status_code in ((status,) if status else (200, 404)), (name, body, answer.text)
                assert f"{MARK} words" not in answer.text
    assert dump(installation, theirs.project_id) == before


def queries(theirs: Project) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every list and every series, filtered by what exists only there."""
    there = {
        "theme": [theirs.ids["theme_id"], theirs.ids["alias"]],
        "topic": [theirs.ids["topic_id"]],
        "source": [MARK],
        "version": [MARK],
        "like": [theirs.ids["feedback_id"], f"{MARK} words"],
        "q": [f"{MARK} words"],
        "subject": [theirs.ids["feedback_id"], theirs.ids["theme_id"], theirs.ids["source_id"]],
        "owner": [MARK],
    }
    for (method, path), operation in contract().operations.items():
        names = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"}
        if method == "GET" and NEEDS[operation["operationId"]] != PUBLIC and "{" not in path:
            yield path, {}
            yield from ((path, {"by": by}) for by in ("theme", "topic", "source", "version") if "by" in names)
            yield from ((path, {name: value}) for name in sorted(names & set(there)) for value in there[name])
            if theirs.cursors.get(path):
                yield path, {"cursor": theirs.cursors[path], "limit": 500}


def test_nothing_of_another_project_is_read(
    api: TestClient, installation: Runtime, keys: dict[str, str], ours: Project, theirs: Project
) -> None:
    before = dump(installation, theirs.project_id)
    asked = 0
    for path, params in queries(theirs):
        for role in ("viewer", "admin"):
            if NEEDS[contract().operation("GET", path)["operationId"]] not in ACTS[role]:  # type: ignore[index]
                continue
            answer = ask(api, "GET", path, keys[role], params=params)
            assert answer.status_code in (200, 422), (path, params, answer.text)
            body = answer.text
            if (
                path == "/v1/audit" and answer.status_code == 200
            ):  # exports are recorded with what was asked for
                body = json.dumps([e for e in answer.json()["items"] if e["kind"] != "feedback.exported"])
            leaked = [one for one in theirs.ids.values() if len(one) == 26 and one in body]
            assert not leaked, (path, params)
            assert MARK not in body, (path, params)
            asked += 1
    assert asked > 60
    assert dump(installation, theirs.project_id) == before


def test_the_other_project_itself_sees_what_was_looked_for(installation: Runtime, theirs: Project) -> None:
    """So that the silence above means something."""
    with serving(installation, theirs.key) as client:
        for path, params in queries(theirs):
            answer = client.get(path, params=params)
            assert answer.status_code == 200
            if path == "/v1/feedback" and params and "cursor" not in params:
                assert MARK in answer.text, params
        assert json.loads(client.get("/v1/sources").text)["items"]


def test_a_cached_principal_is_of_one_project(installation: Runtime, ours: Project, theirs: Project) -> None:
    with serving(installation, ours.key) as client:
        for _ in range(2):
            found = [
                client.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).json()["project"]
                for key in (ours.key, theirs.key)
            ]
            assert found == ["main", "other"]
