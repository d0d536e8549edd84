"""GET /v1/trends against a count of the items themselves, for every metric, dimension and interval."""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import items, make_theme, post_all, serving
from tests.conftest import first_project, make_runtime, new_key
from tests.services import postgres_database
from voice.clock import rfc3339
from voice.runtime import Runtime
from voice.themes import ledger

METRICS = ("volume", "net_sentiment", "sentiment_share", "rating", "nps", "csat")
BY = ("topic", "theme", "channel", "source", "version", "segment", "language", "intent", "urgency")
INTERVALS = ("hour", "day", "week")
WIDTH = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
SCALES = {"nps": (0, 10), "csat": (1, 5), "stars": (1, 5), "ces": (1, 7), "thumbs": (0, 1)}
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
Item = dict[str, Any]


def submissions() -> Iterator[Item]:
    """120 pieces over five weeks, on and beside the borders of hours, days and ISO weeks; some rated, some wordless."""
    dice = random.Random(7)
    borders = [timedelta(hours=h, microseconds=us) for h in (0, 24, 168, 336) for us in (-1, 0, 1)]
    for number in range(120):
        offset = borders[number] if number < len(borders) else timedelta(minutes=dice.randrange(35 * 24 * 60))
        body: Item = {
            "created_at": rfc3339(START + offset),
            "channel": dice.choice(["review", "survey", "ticket"]),
            "source": dice.choice(["shop", "app"]),
            "version": dice.choice(["1.0", "2.0", None]),
            "author": {"segment": dice.choice(["free", "pro", None])},
            "response_id": dice.choice([None, None, f"r{number % 9}"]),
            "language": dice.choice(["fr", None]),
        }
        if number % 3 == 0:
            scale = dice.choice(list(SCALES))
            low, high = SCALES[scale]
            body |= {"rating": dice.randint(low, high), "rating_scale": scale}
        if number % 9:
            body["text"] = f"{dice.choice(['checkout', 'login', 'search', 'export'])} thing {number}"
        yield body


class Filled:
    """An API over a filled project, its items, and which of them carry the rating of their response."""

    def __init__(self, client: TestClient, runtime: Runtime) -> None:
        self.client, self.runtime = client, runtime
        self.order = post_all(client, submissions())
        runtime.pipeline.drain()
        self._make_themes()
        self.items = items(client)
        assert len(self.items) == 120
        self.rated = self._rated()
        assert {item["status"] for item in self.items} == {"analysed"}

    def _make_themes(self) -> None:
        found = [item for item in items(self.client) if item["analysis"]]
        made = [make_theme(self.runtime, f"t{n}", [item["id"] for item in found[n::5]]) for n in range(4)]
        project_id = first_project(self.runtime)
        with self.runtime.database.write() as session:
            for theme, into in ((made[0], made[1]), (made[1], made[2])):
                pair = [ledger.find_theme(session, project_id, one) for one in (theme, into)]
                ledger.merge(session, *pair, actor="test", now=self.runtime.clock())

    def _rated(self) -> set[str]:
        """Of the rated items that share a response in one source, the first that came."""
        seen: set[tuple[str, str]] = set()
        chosen = set()
        for item in sorted(self.items, key=lambda item: self.order.index(item["id"])):
            if item["rating"] is None:
                continue
            key = (item["source"], item["response_id"] or item["id"])
            if key not in seen:
                chosen.add(item["id"])
            seen.add(key)
        return chosen

    def trend(self, **params: Any) -> dict[str, Any]:
        answer = self.client.get("/v1/trends", params={"limit": 500, **params})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("trends")
    yield from serve(f"sqlite:///{folder / 'voice.db'}", folder)


@pytest.fixture(scope="module")
def filled_on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with postgres_database() as url:
        yield from serve(url, tmp_path_factory.mktemp("trends"))


def serve(url: str, folder: Path) -> Iterator[Filled]:
    runtime = make_runtime(url, folder)
    with serving(runtime, new_key(runtime, "admin")) as client:
        yield Filled(client, runtime)


def moment_of(item: Item) -> datetime:
    return datetime.fromisoformat(item["created_at"])


def bucket_of(moment: datetime, interval: str) -> datetime:
    """The start of the hour, the day, or the ISO week (Monday) in UTC."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {"hour": hour, "day": day, "week": day - timedelta(days=moment.weekday())}[interval]


def values_of(item: Item, by: str | None) -> list[str]:
    """The series that an item belongs to."""
    analysis = item["analysis"] or {}
    if by is None:
        return ["all"]
    if by == "topic":
        return [topic["id"] for topic in analysis.get("topics", [])]
    if by == "theme":
        return [item["theme"]["id"]] if item["theme"] else []
    found = analysis.get(by) if by in ("intent", "urgency") else item[by]
    return [found] if found is not None else []


def measure(
    filled: Filled, metric: str, found: list[Item], label: str = "negative"
) -> tuple[int, float | None]:
    """n and value of a metric over these items, by its definition."""
    labels = [item["analysis"]["sentiment"]["label"] for item in found if item["analysis"]]
    ratings = [(item["rating_scale"], item["rating"]) for item in found if item["id"] in filled.rated]
    scored: list[float] = {
        "volume": [],
        "net_sentiment": [100 * ((one == "positive") - (one == "negative")) for one in labels],
        "sentiment_share": [one == label for one in labels],
        "rating": [rating for scale, rating in ratings if scale in ("stars", "csat")],
        "nps": [100 * ((rating >= 9) - (rating <= 6)) for scale, rating in ratings if scale == "nps"],
        "csat": [rating >= 4 for scale, rating in ratings if scale == "csat"],
    }[metric]
    if metric == "volume":
        return len(found), len(found) or None
    return len(scored), mean(scored) if scored else None


def counted(
    filled: Filled, metric: str, by: str | None, interval: str, start: datetime, end: datetime
) -> Any:
    """series value → bucket → (n, value), only where there is data."""
    grouped: dict[str, dict[datetime, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in filled.items:
        if start <= moment_of(item) < end:
            for value in values_of(item, by):
                grouped[value][bucket_of(moment_of(item), interval)].append(item)
    found: dict[str, dict[datetime, tuple[int, float | None]]] = {}
    for value, buckets in grouped.items():
        measured = {bucket: measure(filled, metric, some) for bucket, some in buckets.items()}
        if present := {bucket: one for bucket, one in measured.items() if one[0]}:
            found[value] = present
    return found


def shown(trend: dict[str, Any]) -> Any:
    """The same of an answer, which must be well formed: no bucket missing, value inside its interval."""
    found = {}
    for series in trend["series"]:
        starts = [datetime.fromisoformat(point["t"]) for point in series["points"]]
        width = WIDTH[trend["interval"]]
        assert starts == [starts[0] + number * width for number in range(len(starts))]
        assert starts[0] == bucket_of(datetime.fromisoformat(trend["from"]), trend["interval"])
        last = datetime.fromisoformat(trend["to"]) - timedelta(microseconds=1)
        assert starts[-1] == bucket_of(last, trend["interval"])
        for point in series["points"]:
            if point["n"] == 0:
                assert (point["value"], point["low"], point["high"]) == (None, None, None)
            elif point["low"] is None:
                assert (trend["metric"], point["n"], point["high"]) == ("rating", 1, None)
            else:
                assert point["low"] <= point["value"] <= point["high"]
        present = zip(starts, series["points"], strict=True)
        found[series["value"]] = {t: (p["n"], pytest.approx(p["value"])) for t, p in present if p["n"]}
    if trend["by"] is None:
        found = {value: points for value, points in found.items() if points}
    return found


SPAN = {"from": rfc3339(START), "to": rfc3339(START + timedelta(days=35))}


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("by", [None, *BY])
def test_every_metric(filled: Filled, by: str | None, interval: str) -> None:
    for metric in METRICS:
        params = {"metric": metric, "interval": interval, **SPAN} | ({"by": by} if by else {})
        trend = filled.trend(**params)
        echoed = {"metric": metric, "by": by, "interval": interval, **SPAN, "exact_from": "marginals"}
        assert {name: trend[name] for name in echoed} == echoed
        wanted = counted(filled, metric, by, interval, START, START + timedelta(days=35))
        assert shown(trend) == wanted
        assert wanted or metric in ("nps", "csat", "rating")
        sizes = [sum(point["n"] for point in series["points"]) for series in trend["series"]]
        assert sizes == sorted(sizes, reverse=True)


def test_every_metric_on_postgresql(filled_on_postgresql: Filled) -> None:
    for by in (None, *BY):
        test_every_metric(filled_on_postgresql, by, "week")
    test_filters_read_rows_and_say_so(filled_on_postgresql)
    for first, last in BOUNDS:
        test_from_is_inclusive_and_to_exclusive(filled_on_postgresql, first, last)


@pytest.mark.parametrize("label", ["negative", "neutral", "positive"])
def test_the_share_of_each_label(filled: Filled, label: str) -> None:
    trend = filled.trend(metric="sentiment_share", interval="week", label=label, **SPAN)
    for point in trend["series"][0]["points"]:
        week = datetime.fromisoformat(point["t"])
        found = [item for item in filled.items if bucket_of(moment_of(item), "week") == week]
        assert (point["n"], pytest.approx(point["value"])) == measure(filled, "sentiment_share", found, label)


BOUNDS = [
    (timedelta(0), timedelta(hours=24)),
    (timedelta(hours=24), timedelta(hours=168)),
    (timedelta(microseconds=1), timedelta(hours=24)),
    (timedelta(hours=1, minutes=30), timedelta(days=9, minutes=7)),
    (timedelta(microseconds=-1), timedelta(microseconds=1)),
    (timedelta(hours=168), timedelta(hours=168, microseconds=1)),
]


@pytest.mark.parametrize(("first", "last"), BOUNDS)
def test_from_is_inclusive_and_to_exclusive(filled: Filled, first: timedelta, last: timedelta) -> None:
    start, end = START + first, START + last
    for interval in INTERVALS:
        trend = filled.trend(by="channel", interval=interval, **{"from": rfc3339(start), "to": rfc3339(end)})
        whole_hours = not (first % timedelta(hours=1) or last % timedelta(hours=1))
        assert trend["exact_from"] == ("marginals" if whole_hours else "rows")
        assert shown(trend) == counted(filled, "volume", "channel", interval, start, end)


def passes(item: Item, wanted: dict[str, list[str]]) -> bool:
    labels = [item["analysis"]["sentiment"]["label"]] if item["analysis"] else []
    return all(
        set(values) & set(labels if name == "sentiment" else values_of(item, name))
        for name, values in wanted.items()
    )


def test_filters_read_rows_and_say_so(filled: Filled) -> None:
    topics = sorted({value for item in filled.items for value in values_of(item, "topic")})[:2]
    theme = next(item["theme"]["id"] for item in filled.items if item["theme"])
    narrow: list[tuple[str, dict[str, list[str]], str]] = [
        ("version", {"channel": ["review"]}, "rows"),
        ("channel", {"channel": ["review"]}, "marginals"),
        ("channel", {"channel": ["review", "survey"], "segment": ["pro"]}, "rows"),
        ("source", {"source": ["shop"], "language": ["fr"]}, "rows"),
        ("topic", {"topic": topics}, "marginals"),
        ("topic", {"topic": topics, "source": ["app"]}, "rows"),
        ("theme", {"theme": [theme]}, "marginals"),
        ("theme", {"theme": [theme], "intent": ["praise", "other"]}, "rows"),
        ("urgency", {"sentiment": ["negative"], "urgency": ["high", "low"]}, "rows"),
    ]
    for by, wanted, source in narrow:
        for metric in METRICS:
            trend = filled.trend(metric=metric, by=by, interval="week", **SPAN, **wanted)
            assert trend["exact_from"] == source
            some = Filled.__new__(Filled)
            some.rated, some.items = filled.rated, [item for item in filled.items if passes(item, wanted)]
            count = counted(some, metric, by, "week", START, START + timedelta(days=35))
            chosen = wanted.get(by)
            assert shown(trend) == {v: points for v, points in count.items() if chosen is None or v in chosen}


def test_a_merged_theme_is_drawn_under_its_survivor(filled: Filled) -> None:
    themes = {theme["id"]: theme for theme in filled.client.get("/v1/themes").json()["items"]}
    trend = filled.trend(by="theme", interval="week", **SPAN)
    assert {series["value"]: series["name"] for series in trend["series"]} == {
        theme_id: theme["name"] for theme_id, theme in themes.items()
    }
    [survivor] = [theme for theme in themes.values() if theme["aliases"]]
    by_alias = filled.trend(by="theme", interval="week", theme=survivor["aliases"][0], **SPAN)
    assert by_alias["series"] == [s for s in trend["series"] if s["value"] == survivor["id"]]


def test_names(filled: Filled) -> None:
    names = {topic["id"]: topic["name"] for topic in filled.client.get("/v1/topics").json()["items"]}
    assert all(names[s["value"]] == s["name"] for s in filled.trend(by="topic", **SPAN)["series"])
    assert [(s["value"], s["name"]) for s in filled.trend(**SPAN)["series"]] == [("all", "All feedback")]
    assert all(s["value"] == s["name"] for s in filled.trend(by="channel", **SPAN)["series"])


def test_only_the_busiest(filled: Filled) -> None:
    whole = filled.trend(by="topic", **SPAN)["series"]
    assert filled.trend(by="topic", **SPAN, limit=2)["series"] == whole[:2]
