"""GET /v1/trends: what is asked when little is said, and what is refused."""

from datetime import datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import analysed, refused
from voice.clock import rfc3339
from voice.runtime import Runtime


def test_the_last_thirty_days_by_day(sqlite_client: TestClient, sqlite_runtime: Runtime) -> None:
    now = sqlite_runtime.clock()
    for days in (0, 1, 29, 31):
        analysed(
            sqlite_client, sqlite_runtime, f"words {days}", created_at=rfc3339(now - timedelta(days=days))
        )
    trend = sqlite_client.get("/v1/trends").json()
    assert (trend["metric"], trend["by"], trend["interval"]) == ("volume", None, "day")
    start, end = (datetime.fromisoformat(trend[name]) for name in ("from", "to"))
    assert (start.hour, start.minute) == (0, 0)
    assert now < end <= now + timedelta(hours=1)
    assert timedelta(days=30) <= end - start <= timedelta(days=31)
    assert now <= datetime.fromisoformat(trend["as_of"])
    [series] = trend["series"]
    assert sum(point["n"] for point in series["points"]) == 3
    assert len(series["points"]) in (31, 32)


def test_an_empty_project_has_one_empty_series(sqlite_client: TestClient) -> None:
    [series] = sqlite_client.get("/v1/trends").json()["series"]
    assert {(p["n"], p["value"], p["low"], p["high"]) for p in series["points"]} == {(0, None, None, None)}
    assert sqlite_client.get("/v1/trends", params={"by": "channel"}).json()["series"] == []


def test_what_waits_is_not_counted(sqlite_client: TestClient) -> None:
    sqlite_client.post("/v1/feedback", json={"text": "waiting"})
    [series] = sqlite_client.get("/v1/trends").json()["series"]
    assert not any(point["n"] for point in series["points"])


BAD = [
    ("metric=size", "metric"),
    ("by=author", "by"),
    ("by=all", "by"),
    ("interval=month", "interval"),
    ("label=sad", "label"),
    ("from=2026-01-01", "from"),
    ("to=now", "to"),
    ("limit=0", "limit"),
    ("limit=501", "limit"),
    ("status=analysed", "status"),
    ("start=2026-01-01T00:00:00Z", "start"),
    ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
    ("from=2026-02-01T00:00:00Z&to=2026-02-01T00:00:00Z", "from"),
    ("from=2190-01-01T00:00:00Z", "from"),
    ("from=1990-01-01T00:00:00Z&to=2199-12-31T23:59:59Z", "interval"),
    ("from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00Z&interval=hour", "interval"),
    ("from=9999-12-31T23:59:59Z&to=9999-12-31T23:59:59.9Z", "from"),
]


@pytest.mark.parametrize(("query", "field"), BAD)
def test_bad_queries(shared: TestClient, query: str, field: str) -> None:
    answer = shared.get(f"/v1/trends?{query}")
    named = [error["field"] for error in refused(answer, 422)["errors"]]
    assert field in named


@pytest.mark.parametrize("query", ["channel=api", "sentiment=negative", "by=topic&source=api"])
def test_rows_are_read_for_at_most_92_days(shared: TestClient, query: str) -> None:
    allowed = "&from=2026-01-01T00:00:00Z&to=2026-04-03T00:00:00Z"
    assert shared.get(f"/v1/trends?{query}{allowed}").json()["exact_from"] == "rows"
    longer = "&from=2026-01-01T00:00:00Z&to=2026-04-03T00:00:01Z"
    refused(shared.get(f"/v1/trends?{query}{longer}"), 422, "from")


def test_long_spans_without_filters_are_whole_hours(shared: TestClient) -> None:
    """Ninety-two days and more come from marginals, which count hours: the answer says which it counted."""
    span = {"from": "2026-01-01T10:30:00Z", "to": "2026-12-31T10:30:00Z"}
    trend = shared.get("/v1/trends", params={"by": "channel", **span}).json()
    assert trend["exact_from"] == "marginals"
    assert (trend["from"], trend["to"]) == ("2026-01-01T10:00:00Z", "2026-12-31T11:00:00Z")


def test_iso_weeks_start_on_monday(shared: TestClient) -> None:
    span = {"from": "2026-12-30T00:00:00Z", "to": "2027-01-05T00:00:00Z", "interval": "week"}
    [series] = shared.get("/v1/trends", params=span).json()["series"]
    assert [point["t"] for point in series["points"]] == ["2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"]


def test_offsets_are_understood(shared: TestClient) -> None:
    span = {"from": "2026-05-04T02:00:00+02:00", "to": "2026-05-05T00:00:00Z", "interval": "hour"}
    trend = shared.get("/v1/trends", params=span).json()
    assert trend["from"] == "2026-05-04T00:00:00Z"
    assert len(trend["series"][0]["points"]) == 24
