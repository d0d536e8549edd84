"""Themes as the shipped models find them: splits that are proposed, and what people said outlives every evaluation."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import analysed, items, make_theme, refused, state_of
from tests.api.texts import LOGIN, PAYMENT
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.analysis.analyser import Analyser
from voice.runtime import Runtime
from voice.themes.evaluate import evaluate


def evaluated(runtime: Runtime) -> None:
    now = runtime.clock()
    project_id = first_project(runtime)
    evaluate(
        runtime.database,
        runtime.analyser,
        project_id,
        as_of=now,
        now=now,
        window_days=28,
        window_items=1_000,
    )
    assert_exact(runtime.database, project_id)


def listed(client: TestClient) -> list[dict[str, Any]]:
    return client.get("/v1/themes").json()["items"]


def of(client: TestClient, text: str) -> str | None:
    """The theme that a text is in."""
    [found] = [item["theme"] for item in items(client) if item["text"] == text]
    return found and found["id"]


def test_what_people_said_outlives_evaluations(
    client: TestClient, runtime: Runtime, real_models: Analyser
) -> None:
    analysed(client, runtime, *PAYMENT, *LOGIN)
    evaluated(runtime)
    payment, login = of(client, PAYMENT[0]), of(client, LOGIN[0])
    assert payment != login
    assert None not in (payment, login)
    client.patch(f"/v1/themes/{payment}", json={"name": "Double charges", "severity": "S1", "owner": "ada"})
    moved = next(item["id"] for item in items(client, theme=login))
    client.post(f"/v1/themes/{login}/move", json={"feedback": [moved], "into": payment})
    analysed(client, runtime, *(f"{text}, it happened again" for text in PAYMENT[:6]))
    for _ in range(3):
        evaluated(runtime)
    kept = client.get(f"/v1/themes/{payment}").json()
    assert (kept["id"], kept["name"], kept["name_source"]) == (payment, "Double charges", "person")
    assert (kept["severity"], kept["owner"]) == ("S1", "ada")
    assert of(client, f"{PAYMENT[0]}, it happened again") == payment
    assert client.get(f"/v1/feedback/{moved}").json()["theme"]["id"] == payment


def test_a_merge_outlives_evaluations(
    sqlite_client: TestClient, sqlite_runtime: Runtime, real_models: Analyser
) -> None:
    client = sqlite_client
    analysed(client, sqlite_runtime, *PAYMENT, *LOGIN)
    evaluated(sqlite_runtime)
    payment, login = of(client, PAYMENT[0]), of(client, LOGIN[0])
    assert payment != login
    merged = client.post(f"/v1/themes/{login}/merge", json={"into": payment})
    assert merged.status_code == 200
    for _ in range(2):
        evaluated(sqlite_runtime)
    assert client.get(f"/v1/themes/{login}").json()["id"] == payment
    assert {of(client, PAYMENT[0]), of(client, LOGIN[0])} == {payment}
    client.post(f"/v1/events/{merged.json()['event']}/undo")
    assert_exact(sqlite_runtime.database, first_project(sqlite_runtime))
    assert of(client, LOGIN[0]) == login


def test_a_proposal_is_shown_and_taken(client: TestClient, runtime: Runtime, real_models: Analyser) -> None:
    ids = dict(zip(PAYMENT + LOGIN, analysed(client, runtime, *PAYMENT, *LOGIN), strict=True))
    theme = make_theme(runtime, "Everything", list(ids.values()))
    before = state_of(runtime.database)
    preview = client.post(f"/v1/themes/{theme}/split?preview=true", json={}).json()
    assert state_of(runtime.database) == before
    proposals = preview["details"]["proposals"]
    assert len(proposals) >= 2
    assert preview["feedback"] == sum(proposal["size"] for proposal in proposals)
    [about_login] = [p for p in proposals if p["quote"] in LOGIN]
    wanted = set(about_login["feedback"])
    assert len(wanted) == about_login["size"]
    assert wanted <= {ids[text] for text in LOGIN}
    token = {"proposal": about_login["proposal"]}
    assert client.post(f"/v1/themes/{theme}/split?preview=true", json=token).json()["feedback"] == len(wanted)
    assert state_of(runtime.database) == before
    answer = client.post(f"/v1/themes/{theme}/split", json=token).json()
    assert {item["id"] for item in items(client, theme=answer["created"]["id"])} == wanted
    assert answer["theme"]["size"] == len(ids) - len(wanted)
    assert_exact(runtime.database, first_project(runtime))
    refused(client.post(f"/v1/themes/{theme}/split", json=token), 409)
    client.post(f"/v1/events/{answer['event']}/undo")
    assert len(items(client, theme=theme)) == len(ids)
    assert len(listed(client)) == 1


@pytest.mark.parametrize("body", [{"proposal": "x" * 201}, {"proposal": ""}, {"feedback": []}, {"into": "x"}])
def test_bad_splits(shared: TestClient, body: dict[str, Any]) -> None:
    refused(shared.post(f"/v1/themes/{'0' * 26}/split", json=body), 422, *body)
