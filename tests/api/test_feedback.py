"""GET /v1/feedback: the shape of an item, every filter, both searches, and walking page by page."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import analysed, ids_of, items, make_theme, post, post_all, refused, serving
from tests.conftest import first_project, make_runtime, new_key
from tests.services import postgres_database
from voice.analysis.analyser import Analyser
from voice.clock import rfc3339
from voice.runtime import Runtime
from voice.themes import ledger

ITEM = {
    "id",
    "external_id",
    "response_id",
    "thread_id",
    "source",
    "channel",
    "title",
    "text",
    "author",
    "rating",
    "rating_scale",
    "version",
    "segment",
    "language",
    "url",
    "tags",
    "metadata",
    "redacted",
    "truncated",
    "created_at",
    "received_at",
    "status",
    "analysis",
    "theme",
}
ANALYSIS = {"sentiment", "intent", "urgency", "urgency_reasons", "topics", "aspects", "language", "model"}
WORDS = ["checkout fails", "login loops", "nice export", "slow search", "wrong invoice", "app crashes"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Pieces that differ in every respect, on each database; these tests only read."""
    folder = tmp_path_factory.mktemp("filled")
    with ExitStack() as stack:
        sqlite = f"sqlite:///{folder / 'voice.db'}"
        url = sqlite if request.param == "sqlite" else stack.enter_context(postgres_database())
        runtime = make_runtime(url, folder)
        client = stack.enter_context(serving(runtime, new_key(runtime, "admin")))
        fill(client, runtime)
        yield client


def fill(client: TestClient, runtime: Runtime) -> None:
    """Eighteen pieces, some rated without words; one dead, two pending; three themes, two of them merged."""
    start = runtime.clock().replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    bodies: list[dict[str, Any]] = [{"text": "poison"}]
    for number in range(18):
        words = {"text": f"{WORDS[number % 6]} {number}"}
        rated = {"rating": number % 5 + 1, "rating_scale": "stars"}
        bodies.append(
            {
                "channel": ("review", "survey", "ticket")[number % 3],
                "source": ("shop", "app")[number % 2],
                "version": ("1.0", "2.0", None)[number % 3],
                "author": {"segment": ("free", "pro", None)[number // 2 % 3]},
                "created_at": rfc3339(start + timedelta(hours=number // 2)),
            }
            | (rated if number % 7 == 6 else words)
        )
    post_all(client, bodies)
    for _ in range(6):
        runtime.pipeline.drain()
    ids = [item["id"] for item in items(client) if item["analysis"]]
    kept = make_theme(runtime, "Kept", ids[:5])
    merged = make_theme(runtime, "Merged", ids[5:8])
    make_theme(runtime, "Other", ids[8:10])
    project_id = first_project(runtime)
    with runtime.database.write() as session:
        themes = [ledger.find_theme(session, project_id, one) for one in (merged, kept)]
        ledger.merge(session, *themes, actor="test", now=runtime.clock())
    post(client, "still waiting", "waiting too", channel="chat")


def test_an_item(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = analysed(client, runtime, "negative checkout")
    theme = make_theme(runtime, "Checkout", [feedback_id])
    item = client.get(f"/v1/feedback/{feedback_id}").json()
    assert set(item) == ITEM
    assert set(item["analysis"]) == ANALYSIS
    assert set(item["analysis"]["sentiment"]) == {"label", "score", "confidence", "unsure", "mixed"}
    assert item["analysis"]["sentiment"]["label"] == "negative"
    assert -1 <= item["analysis"]["sentiment"]["score"] < 0
    assert all(set(topic) == {"id", "name", "score"} for topic in item["analysis"]["topics"])
    [aspect] = item["analysis"]["aspects"]
    assert set(aspect) == {"quote", "start", "end", "topic", "sentiment", "score"}
    assert aspect["quote"] == item["text"][aspect["start"] : aspect["end"]]
    assert item["theme"] == {"id": theme, "name": "Checkout"}
    assert item["language"] == item["analysis"]["language"]
    assert items(client) == [item]


@pytest.mark.parametrize("feedback_id", ["x", "0" * 26, "%00", "%F0%9F%92%A9", "a" * 400])
def test_no_such_feedback(shared: TestClient, feedback_id: str) -> None:
    refused(shared.get(f"/v1/feedback/{feedback_id}"), 404)


Get = Callable[[dict[str, Any]], list[Any]]
OF_ITEM: dict[str, Get] = {
    "channel": lambda item: [item["channel"]],
    "source": lambda item: [item["source"]],
    "version": lambda item: [item["version"]],
    "segment": lambda item: [item["segment"]],
    "language": lambda item: [item["language"]],
    "status": lambda item: [item["status"]],
    "topic": lambda item: [topic["id"] for topic in (item["analysis"] or {}).get("topics", [])],
    "theme": lambda item: [(item["theme"] or {}).get("id")],
    "sentiment": lambda item: [(item["analysis"] or {}).get("sentiment", {}).get("label")],
    "intent": lambda item: [(item["analysis"] or {}).get("intent")],
    "urgency": lambda item: [(item["analysis"] or {}).get("urgency")],
}


def passing(everything: list[dict[str, Any]], **wanted: list[str]) -> set[str]:
    """What a filter must let through, computed from the items themselves."""
    return {
        item["id"]
        for item in everything
        if all(set(values) & set(OF_ITEM[name](item)) for name, values in wanted.items())
    }


def test_every_filter(filled: TestClient) -> None:
    everything = items(filled)
    assert len(everything) == 21
    for name, get in OF_ITEM.items():
        present = sorted({value for item in everything for value in get(item) if value is not None})
        assert len(present) >= 2, name
        for value in present:
            assert ids_of(filled, **{name: value}) == passing(everything, **{name: [value]}) != set()
        both = present[:2]
        assert ids_of(filled, **{name: both}) == passing(everything, **{name: both})


def test_different_filters_narrow(filled: TestClient) -> None:
    everything = items(filled)
    wanted = {
        "channel": ["review", "survey"],
        "source": ["shop"],
        "status": ["analysed"],
        "version": ["1.0", "2.0"],
    }
    found = ids_of(filled, **wanted)
    assert found == passing(everything, **wanted)
    assert 0 < len(found) < len(passing(everything, channel=wanted["channel"]))
    assert ids_of(filled, channel="review", version="2.0") == set()


def test_a_merged_theme_is_asked_by_either_id(filled: TestClient) -> None:
    [kept] = [t for t in filled.get("/v1/themes").json()["items"] if t["name"] == "Kept"]
    [alias] = kept["aliases"]
    assert len(ids_of(filled, theme=kept["id"])) == 8
    assert ids_of(filled, theme=alias) == ids_of(filled, theme=kept["id"])
    assert {item["theme"]["name"] for item in items(filled, theme=alias)} == {"Kept"}


def test_from_is_inclusive_and_to_exclusive(filled: TestClient) -> None:
    moments = sorted({item["created_at"] for item in items(filled, source=["shop", "app"])})
    assert len(moments) == 9
    first, last = moments[2], moments[5]
    found = {item["created_at"] for item in items(filled, **{"from": first, "to": last})}
    assert found == set(moments[2:5])
    east = datetime.fromisoformat(first) + timedelta(hours=9)
    shifted = east.isoformat().removesuffix("+00:00") + "+09:00"
    assert ids_of(filled, **{"from": shifted, "to": last}) == ids_of(filled, **{"from": first, "to": last})


BAD_QUERIES = [
    ("colour=red", "colour"),
    ("start=2026-01-01T00:00:00Z", "start"),
    ("end=2026-01-01T00:00:00Z", "end"),
    ("from=2026-01-01", "from"),
    ("to=yesterday", "to"),
    ("from=2026-01-01T00:00:00", "from"),
    ("sentiment=sad", "sentiment.0"),
    ("sentiment=negative&sentiment=sad", "sentiment.1"),
    ("intent=x", "intent.0"),
    ("urgency=x", "urgency.0"),
    ("status=open", "status.0"),
    ("source=Bad", "source.0"),
    ("channel=", "channel.0"),
    ("version=%00", "version.0"),
    ("limit=0", "limit"),
    ("limit=501", "limit"),
    ("limit=x", "limit"),
    ("limit=99999999999999999999999", "limit"),
    ("cursor=", "cursor"),
    ("cursor=a.b", "cursor"),
    ("q=", "q"),
    ("q=%00", "q"),
    ("like=", "like"),
    ("q=a&like=b", "q"),
    ("q=" + "x" * 501, "q"),
]


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
def test_bad_queries(shared: TestClient, query: str, field: str) -> None:
    refused(shared.get(f"/v1/feedback?{query}"), 422, field)


BAD_CURSORS = [
    "x",
    "W10",
    "W251bGwsbnVsbF0",
    "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIlx1ZDgwMCJd",
    "WzEsMl0",
    "W1tdLHt9XQ",
]


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_cursors_that_nobody_gave_out(shared: TestClient, cursor: str) -> None:
    refused(shared.get("/v1/feedback", params={"cursor": cursor}), 422, "cursor")
    refused(shared.get("/v1/feedback", params={"cursor": cursor, "like": "words"}), 422, "cursor")


def walk(client: TestClient, between: Callable[[int], None], **params: Any) -> list[str]:
    """Every id, page by page; `between` runs after each page."""
    found: list[str] = []
    cursor: str | None = None
    for number in range(100):
        page = client.get("/v1/feedback", params=params | ({"cursor": cursor} if cursor else {})).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found
        assert len(page["items"]) == params["limit"]
        between(number)
    raise AssertionError("the walk has no end")


def test_a_walk_is_the_whole_list(filled: TestClient) -> None:
    whole = [item["id"] for item in items(filled)]
    for limit in (1, 4, 20, 21, 500):
        assert walk(filled, lambda _: None, limit=limit) == whole
    keys = [(item["created_at"], item["id"]) for item in items(filled)]
    assert keys == sorted(keys, reverse=True)


def test_a_walk_while_rows_arrive(client: TestClient) -> None:
    """New rows, newer and older than the page, are no gaps and no repeats of what was there."""
    before = set(post(client, *(f"words {number}" for number in range(11))))
    older = "1999-01-01T00:00:00Z"

    def arrive(number: int) -> None:
        post(client, f"new {number}")
        if number == 0:
            post(client, "old", created_at=older)

    found = walk(client, arrive, limit=3)
    assert len(found) == len(set(found))
    assert set(found) >= before
    assert len(set(found) - before) == 1


TEXTS = [
    "Ärger with ÉCLAIR orders",
    "50% off_code fails",
    "50 percent off code",
    "Checkout is SLOW today",
    "ΣΊΣΥΦΟΣ",
]
QUERIES = [
    ("ärger", {0}),
    ("ÄRGER éclair", {0}),
    ("éclair ärger", {0}),
    ("50%", {1}),
    ("off_code", {1}),
    ("50", {1, 2}),
    ("off code", {1, 2}),
    ('"off code"', {2}),
    ("slow checkout", {3}),
    ('"slow checkout"', set()),
    ("nowhere", set()),
    ("ΣΊΣΥΦΟ", {4}),
    ("' OR 1=1 --", set()),
    ("\\", set()),
    ('"', set()),
]


def test_keywords(client: TestClient) -> None:
    ids = post(client, *TEXTS)
    for query, wanted in QUERIES:
        assert ids_of(client, q=query) == {ids[number] for number in wanted}, query


def test_keywords_in_the_title_and_with_filters(client: TestClient) -> None:
    post(client, "words", title="Titled", channel="review")
    post(client, "words titled", channel="chat")
    assert len(ids_of(client, q="titled")) == 2
    assert [item["channel"] for item in items(client, q="titled", channel="chat")] == ["chat"]
    assert ids_of(client, q="titled words") == ids_of(client)


def test_like_finds_by_meaning(client: TestClient, runtime: Runtime, real_models: Analyser) -> None:
    close = ["I was charged twice for my order", "You billed me two times"]
    far = ["The dark theme looks lovely", "Please add a keyboard shortcut", "The map does not load"]
    ids = dict(zip(close + far, analysed(client, runtime, *close, *far), strict=True))
    assert [i["text"] for i in items(client, like="double payment")][:2] in (close, close[::-1])
    by_id = [item["id"] for item in items(client, like=ids[close[0]])]
    assert by_id[0] == ids[close[1]]
    assert ids[close[0]] not in by_id
    assert len(by_id) == 4
    post(client, "charged twice, not read yet")
    assert len(items(client, like="double payment", sentiment=["negative", "neutral", "positive"])) == 5
    walked = walk(client, lambda _: None, limit=2, like="double payment")
    assert walked == [item["id"] for item in items(client, like="double payment")]
