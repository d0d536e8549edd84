"""POST /v1/feedback: everything that is refused names its field, and leaves nothing behind."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.helpers import JSON, items, refused

TEXTS = (
    "text",
    "title",
    "external_id",
    "response_id",
    "thread_id",
    "url",
    "version",
    "author.id",
    "author.name",
    "author.email",
    "author.account",
    "author.segment",
)
LONGEST = {"text": 10_000, "title": 300, "url": 2_000, "version": 64, "author.segment": 64}
SCALES = {"nps": (0, 10), "csat": (1, 5), "stars": (1, 5), "ces": (1, 7), "thumbs": (0, 1)}


def with_field(path: str, value: Any) -> dict[str, Any]:
    """A good feedback with one field set."""
    head, _, tail = path.partition(".")
    return {"text": "good", head: {tail: value} if tail else value}


def in_raw(path: str, raw: str) -> bytes:
    """The same as JSON bytes, the field's string written as given: escapes stay escapes."""
    return json.dumps(with_field(path, "@")).replace("@", raw).encode()


def say_no(client: TestClient, body: dict[str, Any] | bytes, *fields: str) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    refused(client.post("/v1/feedback", content=sent, headers=JSON), 422, *fields)
    assert items(client) == []


def say_yes(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text


WRONG_TYPES = [
    *((path, 5) for path in TEXTS),
    *((path, ["x"]) for path in TEXTS),
    ("author", "ada"),
    ("author", []),
    ("channel", "pigeon"),
    ("channel", 1),
    ("source", 1),
    ("rating", "5"),
    ("rating", True),
    ("rating", []),
    ("rating_scale", "percent"),
    ("rating_scale", 1),
    ("created_at", 1_700_000_000),
    ("created_at", []),
    ("language", 1),
    ("tags", "billing"),
    ("tags", {"a": 1}),
    ("metadata", "x"),
    ("metadata", ["x"]),
]


@pytest.mark.parametrize(("path", "value"), WRONG_TYPES)
def test_wrong_type(shared: TestClient, path: str, value: Any) -> None:
    say_no(shared, with_field(path, value), path)


def test_items_of_a_list_are_named_by_their_position(shared: TestClient) -> None:
    say_no(shared, with_field("tags", ["good", 5]), "tags.1")


@pytest.mark.parametrize("path", ["colour", "author.phone", "Text", "status", "id", "project_id"])
def test_unknown_field(shared: TestClient, path: str) -> None:
    say_no(shared, with_field(path, "x"), path)


KNOWN = {
    *(path for path in TEXTS if "." not in path),
    "author",
    "channel",
    "source",
    "rating",
    "rating_scale",
}
KNOWN |= {"created_at", "language", "tags", "metadata"}


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.text(min_size=1, max_size=20).filter(lambda name: name not in KNOWN),
    value=st.none() | st.integers(),
)
def test_no_field_may_be_smuggled_in(shared: TestClient, name: str, value: int | None) -> None:
    answer = shared.post("/v1/feedback", json={"text": "good", name: value})
    assert answer.status_code == 422
    assert items(shared) == []


@pytest.mark.parametrize("raw", [r"a\u0000b", r"a\ud800b", r"\udfff", "a\x7f\\u0000"])
@pytest.mark.parametrize("path", TEXTS)
def test_what_no_database_keeps(shared: TestClient, path: str, raw: str) -> None:
    say_no(shared, in_raw(path, raw), path)


@pytest.mark.parametrize("raw", [r"\u0000", r"\ud800"])
def test_what_no_database_keeps_inside_lists_and_objects(shared: TestClient, raw: str) -> None:
    say_no(shared, b'{"text": "good", "tags": ["a", "' + raw.encode() + b'"]}', "tags.1")
    for value in (f'{{"k": "{raw}"}}', f'{{"k": ["{raw}"]}}', f'{{"{raw}": 1}}'):
        body = f'{{"text": "good", "metadata": {value}}}'.encode()
        answer = shared.post("/v1/feedback", content=body, headers=JSON)
        assert refused(answer, 422)["errors"][0]["field"].startswith("metadata")
    assert items(shared) == []


@pytest.mark.parametrize("path", TEXTS)
def test_over_long(shared: TestClient, path: str) -> None:
    say_no(shared, with_field(path, "x" * (LONGEST.get(path, 200) + 1)), path)


@pytest.mark.parametrize("path", sorted({*TEXTS} - {"text", "title"}))
def test_empty_is_not_given_it_is_wrong(shared: TestClient, path: str) -> None:
    say_no(shared, with_field(path, ""), path)


def test_too_many_tags_and_too_much_metadata(shared: TestClient) -> None:
    say_no(shared, with_field("tags", ["x"] * 51), "tags")
    say_no(shared, with_field("tags", ["x" * 65]), "tags.0")
    say_no(shared, with_field("metadata", {"k": "x" * 16_000}), "metadata")
    say_no(shared, with_field("metadata", {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}), "metadata")
    say_no(shared, with_field("metadata", {"n": 2**64}), "metadata")


@pytest.mark.parametrize(
    "body", [{}, {"text": ""}, {"text": " \n\t\u2003"}, {"text": None}, {"title": "only a title"}]
)
def test_text_or_rating_is_required(shared: TestClient, body: dict[str, Any]) -> None:
    say_no(shared, body, "text")


def test_a_rating_needs_its_scale(shared: TestClient) -> None:
    say_no(shared, {"rating": 5}, "rating_scale")


@pytest.mark.parametrize("scale", SCALES)
def test_a_rating_outside_its_scale(shared: TestClient, scale: str) -> None:
    low, high = SCALES[scale]
    for rating in (low - 1, low - 0.01, high + 0.01, high + 1, -1e300, 1e300):
        say_no(shared, {"rating": rating, "rating_scale": scale}, "rating")


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_a_rating_that_is_no_number(shared: TestClient, raw: str) -> None:
    say_no(shared, f'{{"rating": {raw}, "rating_scale": "nps"}}'.encode(), "rating")


def moment(**offset: float) -> str:
    return (datetime.now(UTC) + timedelta(**offset)).isoformat()


BAD_MOMENTS = [
    "2026-05-04T13:30:00",
    "2026-05-04",
    "13:30:00Z",
    "yesterday",
    "",
    "2026-02-30T00:00:00Z",
    "2026-05-04T24:00:00Z",
    "2026-05-04T13:30:00+25:00",
    "1989-12-31T23:59:59Z",
    "1990-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59Z",
    "20260504T133000Z",
    "2026-W19-1T13:30:00Z",
    "２０２６-05-04T13:30:00Z",
]


@pytest.mark.parametrize("value", BAD_MOMENTS)
def test_bad_created_at(shared: TestClient, value: str) -> None:
    say_no(shared, with_field("created_at", value), "created_at")


def test_created_at_ahead(shared: TestClient) -> None:
    say_no(shared, with_field("created_at", moment(minutes=10, seconds=30)), "created_at")


@pytest.mark.parametrize("slug", ["", "Bad", "-a", ".a", "a b", "a/b", "ä", "a" * 65, "a\n", "a\x00"])
def test_bad_slug(shared: TestClient, slug: str) -> None:
    say_no(shared, with_field("source", slug), "source")


@pytest.mark.parametrize("language", ["", "e", "english", "e1", "en_GB", "en-", "en\n", "日本"])
def test_bad_language(shared: TestClient, language: str) -> None:
    say_no(shared, with_field("language", language), "language")


def test_every_fault_is_named_at_once(shared: TestClient) -> None:
    body = {"rating": "x", "channel": "pigeon", "author": {"phone": "1"}, "colour": "red"}
    say_no(shared, body, "rating", "channel", "author.phone", "colour")


def test_the_answer_does_not_repeat_what_was_sent(shared: TestClient) -> None:
    body = {"text": "my secret words \x00", "rating": "another secret"}
    answer = shared.post("/v1/feedback", json=body)
    assert answer.status_code == 422
    assert "secret" not in answer.text


GOOD = [
    {"text": "x" * 10_000},
    {"text": "\u200b"},
    {"text": "👩‍👩‍👧 שלום " + "é" * 100},
    with_field("title", "x" * 300),
    with_field("title", ""),
    with_field("version", "x" * 64),
    with_field("url", "not a url but somebody's"),
    with_field("tags", ["x" * 64] * 50),
    with_field("metadata", {"n": -(2**63), "deep": {"b": {"c": {"d": {"e": 1}}}}}),
    with_field("source", "0" + "a._-" * 15 + "xyz"),
    with_field("created_at", "1990-01-01T00:00:00Z"),
    with_field("created_at", "2026-05-04t13:30:00.123456z"),
    with_field("language", "zh-Hant-TW"),
    with_field("author", {}),
]


def test_the_last_that_is_accepted(sqlite_client: TestClient) -> None:
    for body in [*GOOD, with_field("created_at", moment(minutes=9, seconds=30))]:
        say_yes(sqlite_client, body)
    for scale, (low, high) in SCALES.items():
        for rating in (low, high, (low + high) / 2):
            say_yes(sqlite_client, {"rating": rating, "rating_scale": scale})
    for path in TEXTS:
        say_yes(sqlite_client, with_field(path, "x" * LONGEST.get(path, 200)))
