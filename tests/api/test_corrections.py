"""Corrections reach everything at once, outrank models, and can be taken back; dead rows can be tried again."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import select, update

from tests.api.helpers import analysed, ids_of, items, make_theme, post, refused, state_of
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.db.tables import Correction, Feedback
from voice.feedback.claims import REOPENED
from voice.runtime import Runtime
from voice.themes import ledger


def correct(client: TestClient, feedback_id: str, **says: Any) -> Response:
    return client.patch(f"/v1/feedback/{feedback_id}/analysis", json=says)


def undo(client: TestClient, corrected: Response) -> Response:
    return client.post(f"/v1/events/{corrected.headers['voice-event']}/undo")


def read_again(runtime: Runtime, *, salt: int = 1) -> None:
    """Another model reads everything again."""
    runtime.analyser.salt += salt  # type: ignore[attr-defined]
    with runtime.database.write() as session:
        session.execute(update(Feedback).values(**REOPENED))
    runtime.pipeline.drain()


def one(client: TestClient, feedback_id: str) -> dict[str, Any]:
    item: dict[str, Any] = client.get(f"/v1/feedback/{feedback_id}").json()
    return item


def topic_ids(item: dict[str, Any]) -> list[str]:
    return sorted(topic["id"] for topic in item["analysis"]["topics"])


def say_everything(client: TestClient, theme: str) -> dict[str, Any]:
    topics = sorted(topic["id"] for topic in client.get("/v1/topics").json()["items"])[:2]
    return {
        "sentiment": "positive",
        "intent": "praise",
        "urgency": "critical",
        "topics": topics,
        "theme": theme,
    }


def said(item: dict[str, Any]) -> dict[str, Any]:
    """What an item says in the fields that can be corrected."""
    found = item["analysis"]
    return {
        "sentiment": found["sentiment"]["label"],
        "intent": found["intent"],
        "urgency": found["urgency"],
        "topics": topic_ids(item),
        "theme": item["theme"] and item["theme"]["id"],
    }


def test_a_correction_reaches_everything_and_is_undone_exactly(client: TestClient, runtime: Runtime) -> None:
    project_id = first_project(runtime)
    ids = analysed(client, runtime, "negative checkout", "negative login")
    theme = make_theme(runtime, "Praised")
    before, read = one(client, ids[0]), state_of(runtime.database)
    wanted = say_everything(client, theme)
    answer = correct(client, ids[0], **wanted)
    assert answer.status_code == 200
    assert answer.json() == one(client, ids[0])
    assert said(answer.json()) == wanted
    sentiment = answer.json()["analysis"]["sentiment"]
    assert sentiment == {"label": "positive", "score": 1, "confidence": 1, "unsure": False, "mixed": False}
    assert_exact(runtime.database, project_id)
    assert ids_of(client, sentiment="positive", intent="praise", theme=theme) == {ids[0]}
    assert undo(client, answer).status_code == 200
    assert one(client, ids[0]) == before
    assert_exact(runtime.database, project_id)
    after = state_of(runtime.database)
    for table in ("analyses", "feedback", "feedback_topics", "themes"):
        assert after[table] == read[table], table


def test_corrections_are_kept_and_say_what_the_model_said(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    event = int(correct(client, feedback_id, sentiment="neutral").headers["voice-event"])
    with runtime.database.read() as session:
        [kept] = session.scalars(select(Correction)).all()
    assert (kept.field, kept.model_said["value"], kept.person_says["value"]) == (
        "sentiment",
        "negative",
        "neutral",
    )
    assert kept.actor == f"key:{client.get('/v1/me').json()['key']}"
    [told] = client.get("/v1/audit", params={"kind": "feedback.corrected"}).json()["items"]
    assert (told["id"], told["subject_id"], told["after"]["said"]) == (
        event,
        feedback_id,
        {"sentiment": "neutral"},
    )


def test_a_person_outranks_any_later_model(client: TestClient, runtime: Runtime) -> None:
    ids = analysed(client, runtime, "negative checkout", "negative login")
    wanted = say_everything(client, make_theme(runtime, "Praised"))
    correct(client, ids[0], **wanted)
    read_again(runtime)
    assert said(one(client, ids[0])) == wanted
    runtime.pipeline.retopic(first_project(runtime))
    assert said(one(client, ids[0])) == wanted
    assert_exact(runtime.database, first_project(runtime))


def test_where_people_put_it_last_it_stays(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    first, last = make_theme(runtime, "First"), make_theme(runtime, "Last")
    correct(client, feedback_id, theme=first)
    move = {"feedback": [feedback_id], "into": last}
    assert client.post(f"/v1/themes/{first}/move", json=move).status_code == 200
    read_again(runtime)
    assert one(client, feedback_id)["theme"]["id"] == last
    assert_exact(runtime.database, first_project(runtime))


def test_the_newest_correction_stands(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    first = correct(client, feedback_id, sentiment="positive")
    second = correct(client, feedback_id, sentiment="neutral", intent="praise")
    refused(undo(client, first), 409)
    assert undo(client, second).status_code == 200
    assert one(client, feedback_id)["analysis"]["sentiment"]["label"] == "positive"
    assert undo(client, first).status_code == 200
    assert one(client, feedback_id)["analysis"]["sentiment"]["label"] == "negative"
    for done in (first, second):
        refused(undo(client, done), 409)
    assert_exact(runtime.database, first_project(runtime))


def test_undone_after_other_words_came_asks_the_model_anew(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout", external_id="e")
    theme = make_theme(runtime, "Checkout")
    answer = correct(client, feedback_id, sentiment="neutral", theme=theme)
    post(client, "positive checkout", external_id="e")
    runtime.pipeline.drain()
    assert said(one(client, feedback_id))["sentiment"] == "neutral"
    assert undo(client, answer).status_code == 200
    runtime.pipeline.drain()
    item = one(client, feedback_id)
    assert (said(item)["sentiment"], item["theme"]) == ("positive", None)
    assert_exact(runtime.database, first_project(runtime))


def test_saying_the_same_changes_nothing(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    before = state_of(runtime.database)
    answer = correct(client, feedback_id, **said(one(client, feedback_id)))
    assert answer.status_code == 200
    assert "voice-event" not in answer.headers
    assert state_of(runtime.database) == before


def test_an_alias_means_the_theme_it_lives_on_in(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    alias, into = make_theme(runtime, "Old"), make_theme(runtime, "New")
    project_id = first_project(runtime)
    with runtime.database.write() as session:
        themes = [ledger.find_theme(session, project_id, theme) for theme in (alias, into)]
        ledger.merge(session, *themes, actor="test", now=runtime.clock())
    answer = correct(client, feedback_id, theme=alias)
    assert answer.json()["theme"] == {"id": into, "name": "New"}
    assert correct(client, feedback_id, theme=None).json()["theme"] is None
    assert_exact(runtime.database, project_id)


@pytest.mark.parametrize(
    ("says", "field"),
    [
        ({}, "sentiment"),
        ({"sentiment": None}, "sentiment"),
        ({"sentiment": "sad"}, "sentiment"),
        ({"intent": "x"}, "intent"),
        ({"urgency": 1}, "urgency"),
        ({"topics": ["nope"]}, "topics"),
        ({"topics": ["a\x00"]}, "topics.0"),
        ({"topics": "billing"}, "topics"),
        ({"topics": ["x"] * 51}, "topics"),
        ({"score": 1}, "score"),
        ({"language": "en"}, "language"),
    ],
)
def test_bad_corrections(shared: TestClient, says: dict[str, Any], field: str) -> None:
    runtime = shared.app.state.voice.runtime
    if not items(shared):
        analysed(shared, runtime, "negative checkout")
    before = state_of(runtime.database)
    refused(correct(shared, items(shared)[0]["id"], **says), 422, field)
    refused(correct(shared, items(shared)[0]["id"], theme="0" * 26), 404)
    assert state_of(runtime.database) == before


def test_what_is_not_analysed_cannot_be_corrected(sqlite_client: TestClient) -> None:
    [feedback_id] = post(sqlite_client, "still waiting")
    refused(correct(sqlite_client, feedback_id, sentiment="neutral"), 409)
    refused(correct(sqlite_client, "0" * 26, sentiment="neutral"), 404)


def test_a_rating_without_words_has_no_sentiment_to_correct(client: TestClient, runtime: Runtime) -> None:
    body = {"rating": 1, "rating_scale": "csat"}
    feedback_id = client.post("/v1/feedback", json=body).json()["id"]
    runtime.pipeline.drain()
    refused(
        correct(client, feedback_id, sentiment="negative", intent="complaint"), 422, "sentiment", "intent"
    )
    theme = make_theme(runtime, "Poor")
    assert correct(client, feedback_id, theme=theme).json()["theme"]["id"] == theme
    assert one(client, feedback_id)["analysis"] is None
    assert_exact(runtime.database, first_project(runtime))


def test_words_that_go_away_take_their_sentiment_along(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout", external_id="e")
    correct(client, feedback_id, sentiment="positive")
    client.post("/v1/feedback", json={"external_id": "e", "rating": 1, "rating_scale": "csat"})
    runtime.pipeline.drain()
    assert (one(client, feedback_id)["text"], one(client, feedback_id)["analysis"]) == (None, None)
    assert len(items(client)) == 1


def test_dead_rows_are_listed_and_tried_again(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = analysed(client, runtime, "fine words")
    dead = post(client, "poison one", "poison two", channel="chat")
    for _ in range(12):
        runtime.pipeline.drain()
    listed = client.get("/v1/dead").json()["items"]
    assert {item["id"] for item in listed} == set(dead)
    assert {item["status"] for item in listed} == {"dead"}
    assert [i["text"] for i in client.get("/v1/dead", params={"q": "two"}).json()["items"]] == ["poison two"]
    assert client.get("/v1/dead", params={"channel": "review"}).json()["items"] == []
    page = client.get("/v1/dead", params={"limit": 1}).json()
    assert len(client.get("/v1/dead", params={"limit": 1, "cursor": page["next"]}).json()["items"]) == 1
    before = state_of(runtime.database)
    refused(client.post("/v1/dead/replay", json={"feedback": [*dead, *fine]}), 404)
    assert state_of(runtime.database) == before
    assert client.post("/v1/dead/replay", json={"feedback": dead[:1] * 2}).json() == {"replayed": 1}
    assert {item["id"]: item["status"] for item in items(client)}[dead[0]] == "pending"
    monkeypatch.setattr("tests.fakes.POISON", "nothing is poison any more")
    runtime.pipeline.drain()
    assert one(client, dead[0])["status"] == "analysed"
    assert_exact(runtime.database, first_project(runtime))


@pytest.mark.parametrize("query", ["status=dead", "like=words", "colour=red", "limit=0"])
def test_queries_that_the_dead_list_does_not_know(shared: TestClient, query: str) -> None:
    refused(shared.get(f"/v1/dead?{query}"), 422, query.partition("=")[0])


@pytest.mark.parametrize("body", [{}, {"feedback": []}, {"feedback": "x"}, {"feedback": ["x"] * 501}])
def test_bad_replays(shared: TestClient, body: dict[str, Any]) -> None:
    refused(shared.post("/v1/dead/replay", json=body), 422, "feedback")
