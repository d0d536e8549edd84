"""What a file says arrives in the fields of the feedback."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from openpyxl import Workbook
from sqlalchemy import select

from tests.unit.sources.place import Place, faults, outcomes
from voice.db.tables import Feedback, Source
from voice.errors import Invalid
from voice.feedback.submission import MAX_TEXT, MAX_TITLE
from voice.sources.importing import Progress
from voice.sources.records import slug_of


def test_a_survey_lands_in_the_fields_its_headings_name(place: Place) -> None:
    path = place.csv(
        [
            [
                "Review ID",
                "NPS",
                "Comment",
                "Submitted at",
                "E-mail",
                "Plan",
                "App version",
                "Labels",
                "Seats",
                "Code",
            ],
            [
                "r1",
                "7",
                "Call me: jo@mail.example",
                "05/25/2026",
                "jo@mail.example",
                "pro",
                "2.1",
                "a; b,a",
                "12",
                "007",
            ],
        ],
        "Größe Survey 2026.csv",
    )
    report = place.run(path, channel="survey")
    assert outcomes(report) == (1, 0, 0, 0)
    assert report.mapping["Seats"] == report.mapping["Code"] == "metadata"
    (row,) = place.rows()
    assert row.text == "Call me: [email]"
    assert (row.external_id, row.channel, row.segment, row.version) == ("r1", "survey", "pro", "2.1")
    assert (row.rating, row.rating_scale) == (7.0, "nps")
    assert row.created_at == datetime(2026, 5, 25, tzinfo=UTC)
    assert (row.tags, row.meta) == (["a", "b"], {"Seats": 12, "Code": "007"})
    assert row.person_id == place.secrets.person_key(place.project, "email", "jo@mail.example")
    with place.database.read() as session:
        assert session.scalars(select(Source.slug)).all() == ["gr-e-survey-2026"]


def test_given_columns_and_options(place: Place) -> None:
    path = place.csv(
        [["What?", "Mark", "Day", "Comment", "Phone"], ["slow", "4,0", "03/04/2026 10:00", "agent's", "555"]]
    )
    report = place.run(
        path,
        mapping=(("text", "What?"), ("rating", "Mark"), ("created_at", "Day"), ("ignore", "Phone")),
        rating_scale="csat",
        source="hub",
        timezone="Europe/Berlin",
        day_first=True,
    )
    assert outcomes(report) == (1, 0, 0, 0)
    (row,) = place.rows()
    assert (row.text, row.rating, row.rating_scale) == ("slow", 4.0, "csat")
    assert row.created_at == datetime(2026, 4, 3, 8, tzinfo=UTC)
    assert row.meta == {"Comment": "agent's"}


@pytest.mark.parametrize(
    ("rows", "options", "remedy"),
    [
        ([["Colour", "Size"], ["red", "1"]], {}, "--map text=COLUMN"),
        ([["text", "score"], ["a", "1"]], {}, "--rating-scale"),
        ([["text", "score"], ["a", "1"]], {"rating_scale": "ten"}, "--rating-scale"),
        ([["text"], ["a"]], {"channel": "fax"}, "--channel"),
        ([["text"], ["a"]], {"source": "No Slug"}, "--source"),
        ([["text"], ["a"]], {"timezone": "Mars/Base"}, "--timezone"),
        ([["text"], ["a"]], {"timezone": "../etc"}, "--timezone"),
        ([["text"], ["a"]], {"mapping": (("txt", "text"),)}, "--map"),
    ],
)
def test_what_stops_an_import_names_the_option(
    place: Place, rows: list[list[Any]], options: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(Invalid, match=remedy):
        place.run(place.csv(rows), **options)
    assert place.count(Feedback) == 0


def test_jsonl_in_the_shape_of_a_submission(place: Place) -> None:
    given = {
        "text": "the app is slow",
        "title": "Slow",
        "channel": "review",
        "source": "store",
        "external_id": "x1",
        "author": {"id": "u1", "account": "Acme", "segment": "pro"},
        "rating": 2,
        "rating_scale": "stars",
        "created_at": "2026-05-04T13:30:00+02:00",
        "language": "en_GB",
        "tags": ["speed"],
        "metadata": {"device": {"os": "ios"}, "n": 3},
    }
    report = place.run(place.jsonl([given]))
    assert outcomes(report) == (1, 0, 0, 0)
    assert all(target == column for column, target in report.mapping.items())
    (row,) = place.rows()
    assert (row.text, row.title, row.channel, row.account, row.segment) == (
        "the app is slow",
        "Slow",
        "review",
        "Acme",
        "pro",
    )
    assert row.created_at == datetime(2026, 5, 4, 11, 30, tzinfo=UTC)
    assert (row.tags, row.meta, row.stated_language) == (["speed"], {"device": {"os": "ios"}, "n": 3}, "en")


def test_a_field_first_met_late_in_jsonl_still_counts(place: Place) -> None:
    lines = [{"comment": f"number {i}"} for i in range(1_100)]
    place.run(place.jsonl([*lines, {"comment": "last", "title": "Late", "text": "kept beside"}]))
    row = place.rows()[-1]
    assert (row.text, row.title, row.meta) == ("last", "Late", {"text": "kept beside"})


def test_broken_lines_never_spoil_their_neighbours(place: Place) -> None:
    path = place.jsonl(
        [
            {"text": "one"},
            '{"text": "broken',
            {"text": ["a", "list"]},
            {"text": "bad date", "created_at": "yesterday"},
            {"text": "tomorrow", "created_at": "2026-06-02T12:00:00Z"},
            {"text": "  ", "title": "no words"},
            {"rating": "ten", "rating_scale": "nps"},
            {"rating": 11, "rating_scale": "nps"},
            {"rating": 4},
            {"text": "deep", "metadata": json.loads("[" * 9 + "]" * 9)},
            {"text": "long id", "external_id": "x" * 201},
            {"text": "ten"},
        ]
    )
    report = place.run(path)
    assert outcomes(report) == (2, 0, 0, 10)
    assert report.rows == 12
    assert [row.text for row in place.rows()] == ["one", "ten"]
    assert [(line, field) for line, field, _ in faults(report)] == [
        (2, "row"),
        (3, "text"),
        (4, "created_at"),
        (5, "created_at"),
        (6, "text"),
        (7, "rating"),
        (8, "rating"),
        (9, "rating_scale"),
        (10, "metadata"),
        (11, "external_id"),
    ]
    assert (6, "text", "skipped: empty (neither text nor rating)") in faults(report)
    assert not any(
        word in message for _, _, message in faults(report) for word in ("yesterday", "ten", "list,")
    )


def test_rows_without_anything_are_no_rows(place: Place) -> None:
    report = place.run(
        place.csv([["id", "text"], ["1", "one"], ["", " "], ["2", ""], ["3", "three"], ["", ""]])
    )
    assert (report.rows, *outcomes(report)) == (3, 2, 0, 0, 1)
    assert faults(report) == [(4, "text", "skipped: empty (neither text nor rating)")]


def test_hostile_text_is_cleaned_and_cut(place: Place) -> None:
    path = place.jsonl(
        [
            {"id": 1, "text": "a\0b\ud83dc", "title": "t" * 400, "No\0te": "x", "author.name": "n" * 300},
            {
                "id": 2,
                "text": "x" * 20_000,
                "tags": ["t" * 100] * 60,
                "url": "https://e.example/" + "u" * 3_000,
            },
            {"id": 3, "text": "y", "blob": "z" * 5_000, **{f"k{i}": "v" * 900 for i in range(40)}},
            {"id": 4, "text": "short"},
            {"id": 5, "text": "deep", "a": json.loads('{"a":' * 300 + "1" + "}" * 300)},
        ]
    )
    report = place.run(path, mapping=(("author.name", "author.name"),))
    assert faults(report) == [(5, "row", "is nested deeper than 20 levels")]
    assert report.truncated == 3
    one, two, three, four = place.rows()
    assert (one.text, one.truncated, one.meta) == ("abc", True, {"Note": "x"})
    assert len(one.title or "") == MAX_TITLE
    assert (two.text, two.truncated, two.tags) == ("x" * MAX_TEXT, True, ["t" * 64])
    assert (three.truncated, four.truncated) == (True, False)
    assert three.meta["blob"] == "z" * 2_000
    assert 5 < len(three.meta) < 20


def test_nothing_said_is_no_value_and_unknown_hints_are_kept_beside(place: Place) -> None:
    path = place.csv(
        [
            ["id", "user id", "text", "language", "channel", "stars"],
            ["N/A", "n/a", "one", "English", "Fax", "-"],
            ["N/A", "null", "N/A", "de-AT", "Survey", "4"],
        ]
    )
    assert outcomes(place.run(path)) == (2, 0, 0, 0)
    one, two = place.rows()
    assert one.external_id != two.external_id
    assert (one.person_id, two.person_id, one.rating, two.rating) == (None, None, None, 4.0)
    assert (one.meta, one.channel) == ({"language": "English", "channel": "Fax"}, "file")
    assert (two.text, two.stated_language, two.channel) == ("N/A", "de", "survey")


def test_spreadsheets(place: Place) -> None:
    book = Workbook()
    book.active.append(["Comment", "Date", "Ticket ID", "Stars", "Length"])
    book.active.append(["fine", datetime(2026, 5, 4, 13, 30), 123, 5, 2.5])
    book.active.append([404, None, 124.0, None, None])
    book.save(place.folder / "Tickets.xlsx")
    steps: list[Progress] = []
    report = place.run(place.folder / "Tickets.xlsx", timezone="America/New_York", on_progress=steps.append)
    assert outcomes(report) == (2, 0, 0, 0)
    assert steps == [Progress(2, 3, 3, "rows")]
    one, two = place.rows()
    assert one.created_at == datetime(2026, 5, 4, 17, 30, tzinfo=UTC)
    assert (one.external_id, two.external_id, two.text, one.meta) == ("123", "124", "404", {"Length": 2.5})


def test_the_order_of_days_is_found_out_or_noted(place: Place) -> None:
    clear = place.csv([["text", "date"], ["a", "03/04/2026"], ["b", "25/03/2026"]], "clear.csv")
    unclear = place.csv([["text", "date"], ["c", "03/04/2026"]], "unclear.csv")
    mixed = place.csv([["text", "date"], ["d", "03/25/2026"], ["e", "25/03/2026"]], "mixed.csv")
    assert place.run(clear).notes == []
    assert "--day-first" in place.run(unclear).notes[0]
    assert "mixed" in place.run(mixed).notes[0]
    assert [row.created_at.month for row in place.rows()] == [4, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("App Reviews (2026)", "app-reviews-2026"),
        ("...", "file"),
        ("漢字", "file"),
        ("x" * 80, "x" * 64),
        ("a_b.c", "a_b.c"),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert slug_of(name, default="file") == slug
