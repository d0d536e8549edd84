"""GET /v1/themes: what is counted, filters, order, pages, and ids that live on in another theme."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from tests.api.helpers import analysed, items, make_theme, post_all, refused
from tests.conftest import first_project
from voice.clock import rfc3339
from voice.db.tables import Theme
from voice.runtime import Runtime
from voice.themes import ledger
from voice.trends.intervals import net

THEME = {
    "id",
    "name",
    "name_source",
    "keywords",
    "quotes",
    "size",
    "people",
    "sentiment",
    "trend",
    "first_seen",
    "last_seen",
    "severity",
    "status",
    "owner",
    "emerging",
    "aliases",
    "version",
}
EMERGING = {"since": "2026-01-01T00:00:00Z", "rate_ratio": 3.0, "low": 1.5, "high": 6.0, "p": 0.01}
EMERGING |= {"recent": 9, "baseline": 3}


def ago(runtime: Runtime, **delta: float) -> str:
    return rfc3339(runtime.clock() - timedelta(**delta))


def said(runtime: Runtime, text: str, by: str | None, days: float, **fields: Any) -> dict[str, Any]:
    """A feedback of so many days ago, of one author when given."""
    author = {} if by is None else {"author": {"id": by}}
    return {"text": text, "created_at": ago(runtime, days=days), **author, **fields}


def listed(client: TestClient, **params: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/themes", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def names(client: TestClient, **params: Any) -> list[str]:
    return [theme["name"] for theme in listed(client, **params)]


def put(runtime: Runtime, theme_id: str, **values: Any) -> None:
    with runtime.database.write() as session:
        session.execute(update(Theme).where(Theme.id == theme_id).values(**values))


def merged(runtime: Runtime, theme_id: str, into: str) -> None:
    project_id = first_project(runtime)
    with runtime.database.write() as session:
        themes = [ledger.find_theme(session, project_id, one) for one in (theme_id, into)]
        ledger.merge(session, *themes, actor="test", now=runtime.clock())


def test_what_is_counted(client: TestClient, runtime: Runtime) -> None:
    days = [
        ("negative a", "ada", 1),
        ("negative b", "ada", 2),
        ("positive c", "bob", 2),
        ("neutral d", None, 20),
    ]
    days.append(("negative e", None, 0.1))
    ids = post_all(client, [said(runtime, *one) for one in days])
    runtime.pipeline.drain()
    theme_id = make_theme(runtime, "Checkout", ids)
    analysed(client, runtime, "not in the theme")
    theme = client.get(f"/v1/themes/{theme_id}").json()
    assert set(theme) == THEME
    assert [theme] == listed(client)
    assert (theme["name"], theme["name_source"], theme["status"]) == ("Checkout", "machine", "new")
    assert (theme["size"], theme["people"]) == (5, 4)  # ada twice, bob, and two whom nobody knows
    wanted = net(1, 3, 5)
    counts = {"negative": 3, "neutral": 1, "positive": 1}
    assert theme["sentiment"] == counts | {"net": wanted.value, "low": wanted.low, "high": wanted.high}
    members = {item["id"]: item for item in items(client)}
    assert (theme["first_seen"], theme["last_seen"]) == (
        members[ids[3]]["created_at"],
        members[ids[4]]["created_at"],
    )
    assert theme["quotes"] == [{"id": one, "text": members[one]["text"]} for one in ids[:2]]
    by_day = {day["t"][:10]: day["n"] for day in theme["trend"]}
    assert len(by_day) == 14
    assert sum(by_day.values()) == 4
    assert by_day[members[ids[1]]["created_at"][:10]] == 2


def test_a_theme_without_members_can_be_seen_but_is_not_listed(client: TestClient, runtime: Runtime) -> None:
    theme = client.get(f"/v1/themes/{make_theme(runtime, 'Empty')}").json()
    assert (theme["size"], theme["people"], theme["first_seen"], theme["quotes"]) == (0, 0, None, [])
    assert theme["sentiment"] == {
        "negative": 0,
        "neutral": 0,
        "positive": 0,
        "net": None,
        "low": None,
        "high": None,
    }
    assert listed(client) == []


@pytest.fixture
def three(client: TestClient, runtime: Runtime) -> dict[str, str]:
    """Themes by name: Big (5 items of 2 people, old), Many (3 of 3, last week), New (2 of 2, today)."""
    plan = {
        "Big": [("ada", 9), ("ada", 10), ("ada", 11), ("bob", 12), ("bob", 13)],
        "Many": [("ada", 3), ("bob", 8), ("eve", 9)],
        "New": [("ada", 0.1), ("eve", 0.2)],
    }
    ids = {}
    for name, voices in plan.items():
        fields = {"channel": "chat" if name == "New" else "review", "version": name}
        bodies = [said(runtime, f"negative {name} {day}", by, day, **fields) for by, day in voices]
        ids[name] = post_all(client, bodies)
    runtime.pipeline.drain()
    return {name: make_theme(runtime, name, members) for name, members in ids.items()}


def test_order_and_pages(client: TestClient, three: dict[str, str]) -> None:
    assert names(client) == names(client, sort="impact") == ["Many", "Big", "New"]
    assert names(client, sort="growth") == ["New", "Many", "Big"]
    assert names(client, sort="recent") == ["New", "Many", "Big"]
    walked, cursor = [], None
    while True:
        params = {"sort": "growth", "limit": 1} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/themes", params=params).json()
        walked += [theme["name"] for theme in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert walked == ["New", "Many", "Big"]


def test_filters_of_feedback(client: TestClient, runtime: Runtime, three: dict[str, str]) -> None:
    assert names(client, channel="chat") == ["New"]
    assert names(client, version=["Big", "New"]) == ["Big", "New"]
    assert names(client, sentiment="positive") == []
    assert names(client, theme=three["Big"]) == ["Big"]
    since = ago(runtime, days=9.5)
    assert [(t["name"], t["size"]) for t in listed(client, **{"from": since})] == [
        ("Many", 3),
        ("New", 2),
        ("Big", 1),
    ]
    assert names(client, **{"to": since}) == ["Big"]
    first_topic = {topic["id"] for item in items(client) for topic in item["analysis"]["topics"]}
    for topic in sorted(first_topic):
        wanted = {item["theme"]["name"] for item in items(client, topic=topic)}
        assert set(names(client, topic=topic)) == wanted


def test_filters_of_themes(client: TestClient, runtime: Runtime, three: dict[str, str]) -> None:
    put(runtime, three["Big"], severity="S1", owner="ada", emerging=EMERGING)
    put(runtime, three["Many"], severity="S2", owner="bob", status="acknowledged")
    assert names(client, severity="S1") == ["Big"]
    assert names(client, severity=["S1", "S2"]) == ["Many", "Big"]
    assert names(client, owner="bob") == ["Many"]
    assert names(client, owner="bob", severity="S1") == []
    assert (names(client, emerging="true"), names(client, emerging="false")) == (["Big"], ["Many", "New"])
    assert listed(client, emerging="true")[0]["emerging"] == EMERGING
    assert names(client, status="acknowledged") == ["Many"]


def test_closed_and_muted_only_when_asked(
    client: TestClient, runtime: Runtime, three: dict[str, str]
) -> None:
    put(runtime, three["Big"], status="closed")
    put(runtime, three["Many"], status="muted")
    assert names(client) == ["New"]
    assert names(client, status=["closed", "muted"]) == ["Many", "Big"]
    assert client.get(f"/v1/themes/{three['Big']}").json()["status"] == "closed"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=open", "status.0"),
        ("severity=S5", "severity.0"),
        ("sort=size", "sort"),
        ("emerging=perhaps", "emerging"),
        ("owner=", "owner.0"),
        ("cursor=x", "cursor"),
        ("cursor=Wy0xXQ", "cursor"),
        ("q=words", "q"),
        ("limit=501", "limit"),
    ],
)
def test_bad_queries(shared: TestClient, query: str, field: str) -> None:
    refused(shared.get(f"/v1/themes?{query}"), 422, field)


@pytest.mark.parametrize("theme_id", ["x", "0" * 26, "%00", "a" * 400])
def test_no_such_theme(shared: TestClient, theme_id: str) -> None:
    refused(shared.get(f"/v1/themes/{theme_id}"), 404)
    refused(shared.patch(f"/v1/themes/{theme_id}", json={"name": "x"}), 404)


def test_an_old_id_answers_308_to_its_survivor(client: TestClient, runtime: Runtime) -> None:
    ids = analysed(client, runtime, "negative a", "negative b", "negative c")
    old, middle, new = (make_theme(runtime, name, [one]) for name, one in zip("abc", ids, strict=True))
    merged(runtime, old, middle)
    merged(runtime, middle, new)
    requests = [
        ("GET", "", None),
        ("PATCH", "?preview=true", {"name": "x"}),
        ("POST", "/merge?preview=true", {"into": middle}),
        ("POST", "/split?preview=true", {"feedback": ids[:1]}),
        ("POST", "/move?preview=true", {"feedback": ids[:1]}),
    ]
    for alias in (old, middle):
        for method, rest, body in requests:
            answer = client.request(method, f"/v1/themes/{alias}{rest}", json=body, follow_redirects=False)
            assert answer.status_code == 308
            assert answer.headers["location"] == f"/v1/themes/{new}{rest}"
        assert client.get(f"/v1/themes/{alias}").json()["id"] == new
    survivor = client.get(f"/v1/themes/{new}").json()
    assert (survivor["aliases"], survivor["size"]) == (sorted([old, middle]), 3)
    assert [theme["id"] for theme in listed(client)] == [new]
    assert {item["theme"]["id"] for item in items(client)} == {new}
