"""What people do to themes: each with a preview that changes nothing, an undo that leaves nothing, exact trends."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from tests.api.helpers import analysed, items, make_theme, refused, state_of
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.runtime import Runtime

CHANGED_BY_EDITS = ("analyses", "feedback", "feedback_topics", "marginals", "responses")


class Place:
    """A project with three themes: a (4 members), b (2), c (1), and one piece in no theme."""

    def __init__(self, client: TestClient, runtime: Runtime) -> None:
        self.client, self.runtime = client, runtime
        words = [f"negative thing {number}" for number in range(8)]
        self.ids = analysed(client, runtime, *words, source="shop")
        self.a = make_theme(runtime, "a", self.ids[:4])
        self.b = make_theme(runtime, "b", self.ids[4:6])
        self.c = make_theme(runtime, "c", self.ids[6:7])

    def post(self, theme: str, act: str, body: dict[str, Any], **more: Any) -> Response:
        return self.client.post(f"/v1/themes/{theme}/{act}", json=body, **more)

    def get(self, theme: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/themes/{theme}").json()
        return found

    def undo(self, answer: Response) -> Response:
        assert answer.status_code == 200, answer.text
        return self.client.post(f"/v1/events/{answer.json()['event']}/undo")

    def members(self) -> dict[str, set[str]]:
        """Who is where, by the items themselves; the trends must say the same, by day and by row."""
        found: dict[str, set[str]] = {}
        days: Counter[tuple[str, str]] = Counter()
        for item in items(self.client):
            if item["theme"] is not None:
                found.setdefault(item["theme"]["id"], set()).add(item["id"])
                days[item["theme"]["id"], item["created_at"][:10]] += 1
        for narrow in ({}, {"source": "shop"}):
            shown = self.client.get("/v1/trends", params={"by": "theme", **narrow}).json()
            assert shown["exact_from"] == ("rows" if narrow else "marginals")
            points = {
                (series["value"], point["t"][:10]): point["n"]
                for series in shown["series"]
                for point in series["points"]
                if point["n"]
            }
            assert points == days
        assert_exact(self.runtime.database, first_project(self.runtime))
        return found


@pytest.fixture
def place(sqlite_client: TestClient, sqlite_runtime: Runtime) -> Place:
    return Place(sqlite_client, sqlite_runtime)


@pytest.fixture
def either_place(client: TestClient, runtime: Runtime) -> Place:
    """On each database."""
    return Place(client, runtime)


Act = Callable[[Place], tuple[str, str, dict[str, Any], int]]
ACTS: dict[str, Act] = {
    "edit": lambda p: ("PATCH", f"/v1/themes/{p.a}", {"name": "A", "severity": "S1"}, 0),
    "merge": lambda p: ("POST", f"/v1/themes/{p.a}/merge", {"into": p.b}, 4),
    "split": lambda p: ("POST", f"/v1/themes/{p.a}/split", {"feedback": p.ids[:2] + p.ids[:1]}, 2),
    "move": lambda p: ("POST", f"/v1/themes/{p.a}/move", {"feedback": p.ids[1:4], "into": p.b}, 3),
    "move out": lambda p: ("POST", f"/v1/themes/{p.a}/move", {"feedback": p.ids[:1]}, 1),
}


def test_a_preview_changes_nothing(either_place: Place) -> None:
    place = either_place
    before = state_of(place.runtime.database)
    for make in ACTS.values():
        method, path, body, moving = make(place)
        answer = place.client.request(method, f"{path}?preview=true", json=body)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"preview", "feedback", "details"}
        assert (answer.json()["preview"], answer.json()["feedback"]) == (True, moving)
    assert place.post(place.a, "split?preview=true", {}).json()["details"] == {"proposals": []}
    assert state_of(place.runtime.database) == before


def test_a_preview_refuses_what_the_act_would_refuse(place: Place) -> None:
    before = state_of(place.runtime.database)
    stranger = place.ids[7]
    bad: list[tuple[str, str, dict[str, Any], int]] = [
        (place.a, "merge", {"into": place.a}, 422),
        (place.a, "merge", {"into": "0" * 26}, 404),
        (place.a, "split", {"feedback": [place.ids[0], stranger]}, 422),
        (place.a, "split", {"feedback": place.ids[:1], "proposal": "x"}, 422),
        (place.a, "split", {"proposal": "x"}, 409),
        (place.a, "move", {"feedback": [stranger], "into": place.b}, 422),
        (place.a, "move", {"feedback": place.ids[:1], "into": "0" * 26}, 404),
        (place.a, "move", {"feedback": ["x"]}, 404),
        (place.a, "move", {"feedback": []}, 422),
        (place.a, "merge", {}, 422),
    ]
    for theme, act, body, status in bad:
        refused(place.post(theme, act, body), status)
        if (act, body.get("proposal"), len(body)) != ("split", "x", 1):
            refused(place.post(theme, f"{act}?preview=true", body), status)
    refused(place.post(place.a, "split", {}), 422, "feedback")
    refused(place.client.patch(f"/v1/themes/{place.a}", json={}), 422, "name")
    refused(place.client.patch(f"/v1/themes/{place.a}?preview=true", json={"name": None}), 422, "name")
    assert state_of(place.runtime.database) == before


@pytest.mark.parametrize("act", ACTS)
def test_undo_leaves_nothing(either_place: Place, act: str) -> None:
    place = either_place
    before, members = state_of(place.runtime.database), place.members()
    shown = [place.get(theme) for theme in (place.a, place.b)]
    method, path, body, _ = ACTS[act](place)
    answer = place.client.request(method, path, json=body)
    assert state_of(place.runtime.database) != before
    place.members()
    assert place.undo(answer).status_code == 200
    assert place.members() == members
    after = state_of(place.runtime.database)
    for table in CHANGED_BY_EDITS:
        if table != "marginals":  # cells may stay behind, empty; place.members() compares what is counted
            assert after[table] == before[table]
    again = [place.get(theme) for theme in (place.a, place.b)]
    for old, new in zip(shown, again, strict=True):
        assert {**new, "version": 0, "aliases": []} == {**old, "version": 0, "aliases": []}
    refused(place.undo(answer), 409)


def test_edit(place: Place) -> None:
    answer = place.client.patch(
        f"/v1/themes/{place.a}", json={"name": "Checkout", "severity": "S2", "owner": "ada"}
    )
    theme = answer.json()["theme"]
    assert (theme["name"], theme["name_source"], theme["severity"], theme["owner"]) == (
        "Checkout",
        "person",
        "S2",
        "ada",
    )
    assert theme == place.get(place.a)
    cleared = place.client.patch(f"/v1/themes/{place.a}", json={"severity": None, "owner": None}).json()[
        "theme"
    ]
    assert (cleared["severity"], cleared["owner"], cleared["name"]) == (None, None, "Checkout")
    for status in ("acknowledged", "in_progress", "fixed", "verified", "closed", "muted", "new"):
        assert (
            place.client.patch(f"/v1/themes/{place.a}", json={"status": status}).json()["theme"]["status"]
            == status
        )
    same = place.client.patch(f"/v1/themes/{place.a}", json={"status": "new"}).json()
    assert same["event"] is None
    refused(place.undo(answer), 409)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"status": "open"}, "status"),
        ({"severity": "S9"}, "severity"),
        ({"owner": ""}, "owner"),
        ({"keywords": ["x"]}, "keywords"),
        ({"merged_into": "x"}, "merged_into"),
    ],
)
def test_bad_edits(shared: TestClient, body: dict[str, Any], field: str) -> None:
    refused(shared.patch(f"/v1/themes/{'0' * 26}", json=body), 422, field)


def test_names_as_long_as_they_may_be(place: Place) -> None:
    assert place.client.patch(f"/v1/themes/{place.a}", json={"name": "é" * 200}).status_code == 200
    body = {"rating": 1, "rating_scale": "csat"}
    wordless = place.client.post("/v1/feedback", json=body).json()["id"]
    place.runtime.pipeline.drain()
    place.client.patch(f"/v1/feedback/{wordless}/analysis", json={"theme": place.a})
    made = place.post(place.a, "split", {"feedback": [wordless]})
    assert made.status_code == 200
    assert len(made.json()["created"]["name"]) <= 200


def test_merge(place: Place) -> None:
    answer = place.post(place.a, "merge", {"into": place.b})
    assert answer.json()["theme"] == place.get(place.b) == place.get(place.a)
    assert (answer.json()["theme"]["size"], answer.json()["theme"]["aliases"]) == (6, [place.a])
    assert place.members() == {place.b: set(place.ids[:6]), place.c: {place.ids[6]}}


def test_merges_are_undone_in_any_order(either_place: Place) -> None:
    place = either_place
    start = place.members()
    first = place.post(place.a, "merge", {"into": place.b})
    second = place.post(place.b, "merge", {"into": place.c})
    assert set(place.members()) == {place.c}
    assert place.undo(first).status_code == 200
    assert place.members() == {place.a: start[place.a], place.c: start[place.b] | start[place.c]}
    assert place.undo(second).status_code == 200
    assert place.members() == start


def test_into_an_alias_is_into_its_survivor(place: Place) -> None:
    place.post(place.b, "merge", {"into": place.c})
    moved = place.post(place.a, "move", {"feedback": place.ids[:1], "into": place.b})
    assert moved.status_code == 200
    assert place.members()[place.c] == {place.ids[0], *place.ids[4:7]}
    merged = place.post(place.a, "merge", {"into": place.b})
    assert merged.json()["theme"]["id"] == place.c
    refused(place.post(place.c, "merge", {"into": place.a}), 422, "into")


def test_split(place: Place) -> None:
    answer = place.post(place.a, "split", {"feedback": place.ids[:2], "name": "Half"}).json()
    created = answer["created"]
    assert (created["name"], created["name_source"], created["size"], answer["theme"]["size"]) == (
        "Half",
        "person",
        2,
        2,
    )
    assert {quote["id"] for quote in created["quotes"]} == set(place.ids[:2])
    assert place.members()[created["id"]] == set(place.ids[:2])


def test_an_undone_split_keeps_what_came_later(place: Place) -> None:
    answer = place.post(place.a, "split", {"feedback": place.ids[:2]})
    child = answer.json()["created"]["id"]
    [late] = analysed(place.client, place.runtime, "negative late", source="shop")
    place.client.patch(f"/v1/feedback/{late}/analysis", json={"theme": child})
    place.post(child, "move", {"feedback": place.ids[:1], "into": place.b})
    assert place.undo(answer).status_code == 200
    members = place.members()
    assert members[place.a] == {late, *place.ids[1:4]}
    assert place.ids[0] in members[place.b]
    assert place.get(child)["id"] == place.a


def test_a_split_that_was_merged_on_must_be_unmerged_first(place: Place) -> None:
    answer = place.post(place.a, "split", {"feedback": place.ids[:2]})
    merged = place.post(answer.json()["created"]["id"], "merge", {"into": place.c})
    refused(place.undo(answer), 409)
    place.undo(merged)
    assert place.undo(answer).status_code == 200
    assert place.members()[place.a] == set(place.ids[:4])


def test_moves_are_undone_only_as_far_as_nobody_moved_on(place: Place) -> None:
    first = place.post(place.a, "move", {"feedback": place.ids[:2], "into": place.b})
    place.post(place.b, "move", {"feedback": place.ids[:1], "into": place.c})
    assert place.undo(first).status_code == 200
    members = place.members()
    assert (place.ids[1] in members[place.a], place.ids[0] in members[place.c]) == (True, True)


IF_MATCH = [
    ("PATCH", "", lambda p: {"name": "x"}),
    ("POST", "/merge", lambda p: {"into": p.b}),
    ("POST", "/split", lambda p: {"feedback": p.ids[:1]}),
    ("POST", "/move", lambda p: {"feedback": p.ids[:1]}),
]


def test_if_match(place: Place) -> None:
    path = f"/v1/themes/{place.a}"
    etag = place.client.get(path).headers["etag"]
    assert etag == f'"{place.get(place.a)["version"]}"'
    place.client.patch(path, json={"owner": "ada"}, headers={"If-Match": etag})
    before = state_of(place.runtime.database)
    for method, rest, body in IF_MATCH:
        for preview in ("", "?preview=true"):
            answer = place.client.request(
                method, f"{path}{rest}{preview}", json=body(place), headers={"If-Match": etag}
            )
            assert refused(answer, 412)["current"] == place.get(place.a)
    for wrong in ("x", '"x"', "-1", "1.5", '"' + "9" * 30 + '"', "¹"):
        sent = {b"If-Match": wrong.encode("latin-1")}
        refused(place.client.patch(path, json={"name": "x"}, headers=sent), 422, "If-Match")  # type: ignore[arg-type]
    assert state_of(place.runtime.database) == before


def test_of_two_at_once_one_wins(either_place: Place) -> None:
    place = either_place
    path, etag = (
        f"/v1/themes/{place.a}",
        {"If-Match": place.client.get(f"/v1/themes/{place.a}").headers["etag"]},
    )

    def rename(number: int) -> Response:
        return place.client.patch(path, json={"name": f"name {number}"}, headers=etag)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(rename, range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
        [won] = [answer for answer in answers if answer.status_code == 200]
        undone = list(pool.map(lambda _: place.undo(won), range(6)))
    assert sorted(answer.status_code for answer in undone) == [200] + [409] * 5
    assert place.get(place.a)["name"] == "a"
