"""The demo launch keeps the promises of its README."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from voice.demo import exposure, load, releases
from voice.feedback.submission import RATING_RANGES, Submission, parse_record

Row = dict[str, Any]

NOW = datetime(2026, 3, 11, 9, 0, 0, 250_000, tzinfo=UTC)
END = NOW.replace(microsecond=0)
DAY_SECONDS = 86_400
DAYS = 28
FIRST_DAY, LAST_DAY = -7, 20
ADOPTION_DAYS = 4
TRUTH = Path(__file__).parents[2] / "data" / "demo_truth.jsonl"
DEMO = files("voice.demo")


def _lines(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines()]


ROWS = _lines(DEMO.joinpath("launch.jsonl").read_text(encoding="utf-8"))
BY_ID = {row["external_id"]: row for row in ROWS}
TRUTHS = _lines(TRUTH.read_text(encoding="utf-8"))


def _day(row: Row) -> int:
    """The launch day, −7 (first) to 20 (last), each 24 hours; 5.0.0 is released as day 0 begins."""
    offset_s: int = row["offset_s"]
    return min((DAYS * DAY_SECONDS - offset_s) // DAY_SECONDS + FIRST_DAY, LAST_DAY)


def _labelled(label: str) -> list[Row]:
    return [BY_ID[truth["external_id"]] for truth in TRUTHS if truth["label"] == label]


def _daily(rows: list[Row]) -> list[int]:
    counts = Counter(map(_day, rows))
    return [counts[day] for day in range(FIRST_DAY, LAST_DAY + 1)]


def _normalised(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def _moment(value: str) -> datetime:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
    return datetime.fromisoformat(value)


def _counted() -> dict[str, int]:
    languages = Counter(truth["language"] for truth in TRUTHS)
    labels = Counter(truth["label"] for truth in TRUTHS)
    counts = {
        "rows": len(ROWS),
        "verbatims": sum("text" in row for row in ROWS),
        "ratings without words": sum("text" not in row for row in ROWS),
        "authors": len({row["author"]["id"] for row in ROWS}),
        "accounts": len({row["author"]["account"] for row in ROWS if "account" in row["author"]}),
        "survey responses with two answers": len(
            {row["response_id"] for row in ROWS if "response_id" in row}
        ),
        "verbatims with personal data or a secret": sum(truth["pii"] for truth in TRUTHS),
    }
    return counts | labels | languages


def test_every_row_is_a_valid_submission() -> None:
    faults = [made for row in load(NOW) if not isinstance(made := parse_record(row, now=NOW), Submission)]
    assert faults == []


def test_the_last_row_is_now_and_all_28_days_have_rows() -> None:
    moments = [_moment(row["created_at"]) for row in load(NOW)]
    assert moments == sorted(moments)
    assert moments[-1] == END
    assert timedelta(days=DAYS - 1) < END - moments[0] <= timedelta(days=DAYS)
    assert min(_daily(ROWS)) >= 20


def test_weekends_are_quieter_and_nights_are_quiet() -> None:
    # The span ends on a Wednesday at 09:00 of the product's clock, as NOW does.
    rows = [_moment(row["created_at"]) for row in load(NOW)]
    weekend = sum(moment.weekday() >= 5 for moment in rows) / 2
    assert weekend < 0.8 * sum(moment.weekday() < 5 for moment in rows) / 5
    assert sum(moment.hour < 6 for moment in rows) < 0.06 * len(rows)


def test_volume_and_ratings_without_words() -> None:
    verbatims = [row for row in ROWS if "text" in row]
    assert len(verbatims) >= 1_500
    assert len(ROWS) - len(verbatims) >= 200
    assert all("rating" in row for row in ROWS if "text" not in row)


def test_no_answer_is_given_away_in_the_rows() -> None:
    assert not {"label", "sentiment", "lang", "pii", "when"} & {key for row in ROWS for key in row}


def test_the_truth_covers_exactly_the_rows_with_words() -> None:
    assert len(BY_ID) == len(ROWS)
    assert [truth["external_id"] for truth in TRUTHS] == [row["external_id"] for row in ROWS if "text" in row]
    assert {truth["sentiment"] for truth in TRUTHS} == {"negative", "neutral", "positive"}
    assert len({truth["language"] for truth in TRUTHS}) >= 5
    assert sum(truth["pii"] for truth in TRUTHS) >= 40


def test_texts_repeat_only_in_the_storm_and_two_tickets_sent_twice() -> None:
    storm = {id(row) for row in _labelled("storm")}
    texts = Counter(row["text"] for row in ROWS if "text" in row and id(row) not in storm)
    repeated = [text for text, n in texts.items() if n > 1]
    assert len(repeated) == 2
    for text in repeated:
        first, second = (row for row in ROWS if row.get("text") == text)
        assert first["channel"] == second["channel"] == "ticket"
        assert first["author"]["id"] == second["author"]["id"]
        assert 0 < first["offset_s"] - second["offset_s"] < 600


def test_the_storm_is_one_text_from_many_people_within_three_hours() -> None:
    storm = _labelled("storm")
    assert len(storm) >= 80
    assert len({_normalised(row["text"]) for row in storm}) < 10
    assert len({row["author"]["id"] for row in storm}) >= 80
    assert {row["channel"] for row in storm} == {"social", "community"}
    offsets = [row["offset_s"] for row in storm]
    assert max(offsets) - min(offsets) <= 3 * 3_600
    assert {_day(row) for row in storm} == {9}


def test_the_loud_author_is_one_person_with_ever_new_words() -> None:
    loud = _labelled("contrast_sidebar")
    assert len(loud) >= 35
    assert len({(row["author"]["id"], row["author"]["email"]) for row in loud}) == 1
    assert len({_normalised(row["text"]) for row in loud}) == len(loud)
    assert {_day(row) for row in loud} == set(range(2, 20))


def _from_day(first: int, last: int = LAST_DAY) -> Callable[[Row], bool]:
    return lambda row: first <= _day(row) <= last


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("double_charge", _from_day(1)),
        ("recurring_vanish", _from_day(12)),
        ("android_crash", _from_day(0, 7)),
    ],
)
def test_emerging_themes_keep_to_their_days(label: str, expected: Callable[[Row], bool]) -> None:
    rows = _labelled(label)
    assert len(rows) >= 75
    assert all(map(expected, rows))


def test_emerging_themes_grow_and_the_crash_goes_away() -> None:
    double = _daily(_labelled("double_charge"))[8:]
    assert double[0] <= 2
    assert mean(double[-5:]) >= 8
    assert mean(double[:5]) < mean(double[5:10]) < mean(double[10:15])
    vanish = _daily(_labelled("recurring_vanish"))[19:]
    assert vanish[0] <= 3
    assert mean(vanish[-5:]) >= 11
    crash = _daily(_labelled("android_crash"))[7:]
    assert max(crash[:5]) >= 12
    assert crash[7] <= 4
    assert not any(crash[8:])


def test_other_themes_are_there_from_the_first_day_to_the_last() -> None:
    planted = {"storm", "contrast_sidebar", "double_charge", "recurring_vanish", "android_crash"}
    labels = {truth["label"] for truth in TRUTHS} - planted
    assert len(labels) == 11
    for label in labels:
        daily = _daily(_labelled(label))
        assert min(daily) >= 1, label
        assert mean(daily[7:]) < 2 * mean(daily[:7]), label


def test_nobody_uses_a_version_before_its_release() -> None:
    released = {v["version"]: _moment(v["released_at"]) for v in releases(NOW)["versions"]}
    seen = [(row["version"], _moment(row["created_at"])) for row in load(NOW) if "version" in row]
    assert {version for version, _ in seen} == set(released)
    assert all(moment >= released[version] for version, moment in seen)
    successor = dict(zip(released, list(released.values())[1:], strict=False))
    late = timedelta(days=ADOPTION_DAYS)
    assert all(moment <= successor[version] + late for version, moment in seen if version in successor)


def test_the_crash_is_reported_from_android_and_5_0_0() -> None:
    rows = _labelled("android_crash")
    versions = Counter(row["version"] for row in rows if "version" in row)
    assert set(versions) == {"5.0.0", "5.0.1"}
    assert versions["5.0.0"] > 0.9 * versions.total()
    systems = [row["metadata"]["os"] for row in rows if "metadata" in row]
    assert len(systems) >= 20
    assert all(system.startswith("Android") for system in systems)


def test_two_answers_of_one_response_share_rating_and_author() -> None:
    responses: dict[str, list[Row]] = {}
    for row in ROWS:
        if "response_id" in row:
            responses.setdefault(row["response_id"], []).append(row)
    assert len(responses) >= 24
    for first, second in responses.values():
        shared = ("rating", "rating_scale", "author", "source", "offset_s")
        assert [first[key] for key in shared] == [second[key] for key in shared]


def test_ratings_fit_their_source_and_follow_the_sentiment() -> None:
    sentiments = {truth["external_id"]: truth["sentiment"] for truth in TRUTHS}
    scales = {"nps-survey": "nps", "csat-survey": "csat", "live-chat": "csat"}
    found: dict[tuple[str, str], list[float]] = {}
    for row in ROWS:
        if "rating" not in row:
            continue
        assert row["rating_scale"] == scales.get(row["source"], "stars")
        low, high = RATING_RANGES[row["rating_scale"]]
        assert low <= row["rating"] <= high
        if row["external_id"] in sentiments:
            key = (row["rating_scale"], sentiments[row["external_id"]])
            found.setdefault(key, []).append(row["rating"])
    for scale in ("nps", "csat", "stars"):
        negative, neutral, positive = (found[scale, s] for s in ("negative", "neutral", "positive"))
        assert mean(negative) < mean(neutral) < mean(positive)
        assert max(negative) > min(neutral), "a rating that never contradicts its text is not a real one"


def test_exposure_grows_and_splits_by_version() -> None:
    placed = exposure(NOW)
    assert placed["unit"] == "active studios"
    totals: dict[datetime, int] = {}
    for point in placed["points"]:
        assert point["exposed"] > 0
        totals[_moment(point["at"])] = totals.get(_moment(point["at"]), 0) + point["exposed"]
    assert list(totals) == [END - timedelta(days=days) for days in range(DAYS, 0, -1)]
    studios = list(totals.values())
    assert studios == sorted(studios)
    assert (studios[0], studios[-1]) == (4_000, 5_200)
    assert {point["version"] for point in placed["points"]} == {"4.9.2", "5.0.0", "5.0.1", "5.1.0"}


def test_releases_are_placed_on_days_0_5_and_12() -> None:
    placed = releases(NOW)
    start = END - timedelta(days=21)
    released = {v["version"]: _moment(v["released_at"]) for v in placed["versions"]}
    assert released["5.0.0"] == _moment(placed["launch"]["starts_at"]) == start
    assert released["5.0.1"] == start + timedelta(days=5)
    assert released["5.1.0"] == start + timedelta(days=12)
    assert _moment(placed["launch"]["planned_end_at"]) > END


@pytest.mark.parametrize("place", [load, exposure, releases])
def test_a_moment_without_a_time_zone_is_refused(place: Callable[[datetime], object]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        place(NOW.replace(tzinfo=None))


def test_the_readme_counts_what_is_there() -> None:
    readme = DEMO.joinpath("README.md").read_text(encoding="utf-8")
    table = {name: int(n) for name, n in re.findall(r"^\| ([^|]+?) \| (\d+) \|", readme, re.MULTILINE)}
    assert table == _counted()
