"""Files come back as the rows that were written, with the lines where they start."""

import contextlib
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from voice.errors import Invalid
from voice.feedback.submission import Author, Submission
from voice.sources import files
from voice.sources.columns import SYNONYMS, assign_columns, implied_scale, normalised
from voice.sources.encodings import detect_encoding
from voice.sources.files import MAX_CELL, MAX_RECOVERIES, Row, column_names, open_file, sniff_delimiter
from voice.sources.moments import day_month_order, parse_moment

TEXTS = {
    "utf-8": ["Größe €5", "日本語のレビュー", "👍🏽 ok"],
    "utf-8-sig": ["naïve", "plain"],
    "utf-16": ["Größe", "漢字"],
    "utf-16-le": ["Größe der Schrift", "naïve approach to buttons"],
    "utf-16-be": ["Größe der Schrift", "naïve approach to buttons"],
    "cp1252": ["Größe der Schrift ist zu klein", "café", "It’s “great” – really €5", "año pasado, muy mal"],
    "cp1251": ["Приложение не открывается после обновления, всё плохо"],
    "cp1250": ["Aplikacja się zawiesza, proszę naprawić błąd jak najszybciej, dziękuję"],
    "cp932": ["アプリが起動しません。アップデート後に落ちます。とても残念です"],
    "gb18030": ["更新后应用程序无法打开,非常失望,请尽快修复"],
}


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def as_csv(rows: list[list[str]], delimiter: str = ",", end: str = "\r\n") -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()


def read(path: Path, **options: Any) -> list[Row]:
    return list(open_file(path, **options).rows())


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    rows = [["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS[encoding]))]
    path = write(tmp_path / "a.csv", as_csv(rows), encoding)
    file = open_file(path)
    assert list(file.columns) == ["id", "text"]
    assert [row.cells and row.cells["text"] for row in file.rows()] == TEXTS[encoding]
    assert ("guessed" in file.note) == (not encoding.startswith("utf"))


def test_the_first_letter_beyond_ascii_may_come_late(tmp_path: Path) -> None:
    filler = "an ordinary line\n" * 200_000
    for encoding in ("utf-8", "cp1252"):
        path = write(tmp_path / f"{encoding}.csv", f"text\n{filler}Grüße aus München\n", encoding)
        assert detect_encoding(path).name == encoding


def test_damaged_utf8_costs_a_character_and_is_noted(tmp_path: Path) -> None:
    content = "text\n" + "schöne Grüße\n" * 20
    path = write(tmp_path / "a.csv", content.encode() + b"ab\xffcd\nab\xed\xa0\xbdcd\n")
    file = open_file(path)
    texts = [row.cells["text"] for row in file.rows() if row.cells]
    assert texts[0] == "schöne Grüße"
    assert texts[20] == "ab\ufffdcd"
    assert texts[21].strip("abcd") == "\ufffd" * 3
    assert file.note.startswith("4 damaged characters")


def test_a_named_encoding_wins_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\nGrüße\n", "cp850")
    assert read(path, encoding="cp850")[0].cells == {"text": "Grüße"}
    with pytest.raises(Invalid, match="--encoding"):
        open_file(path, encoding="rot13")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ["id", "text", "note"],
        ["1", "a, b; c | d\te", "x"],
        ["2", "p;q;r,s,t", "y"],
        ["3", "plain", "z"],
    ]
    path = write(tmp_path / "a.csv", as_csv(rows, delimiter))
    assert [list((row.cells or {}).values()) for row in read(path)] == rows[1:]


def test_one_column_without_quotation_marks_keeps_its_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\nslow, ugly, expensive\nfine\n")
    assert [row.cells for row in read(path)] == [{"text": "slow, ugly, expensive"}, {"text": "fine"}]
    assert sniff_delimiter("text\na;b\nc;d\n") == ","


def test_the_delimiter_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id^text\n1^a,b\n")
    assert read(path, delimiter="^")[0].cells == {"id": "1", "text": "a,b"}
    with pytest.raises(Invalid, match="--delimiter"):
        open_file(path, delimiter="::")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path, end: str) -> None:
    lines = ["id,text", "1,plain", '2,"two', 'lines"', "", '3,"a', "", 'b"', ",", "4,end"]
    rows = read(write(tmp_path / "a.csv", end.join(lines) + end))
    assert [row.line for row in rows] == [2, 3, 6, 10]
    assert rows[2].cells == {"id": "3", "text": f"a{end}{end}b"}
    assert rows[3].position == len(end.join(lines) + end)


def test_rows_of_the_wrong_width_are_faults_and_surplus_blanks_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b,c\n1,2\n1,2,3,4\n1,2,3,,\n1,2,3\n")
    rows = read(path)
    assert [row.fault for row in rows] == [
        "has 2 columns where the header has 3",
        "has 4 columns where the header has 3",
        "",
        "",
    ]
    assert rows[2].cells == {"a": "1", "b": "2", "c": "3"}


def test_a_quotation_mark_without_its_pair_spoils_one_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", 'id,text\n1,fine\n2,"never closed\n' + "".join(f"{i},t\n" for i in range(3, 900))
    )
    rows = read(path)
    assert [row.line for row in rows if row.fault] == [3]
    assert [row.cells["id"] for row in rows if row.cells] == ["1", *map(str, range(3, 900))]
    assert [row.line for row in rows] == list(range(2, 901))


def test_many_broken_quotation_marks_end_in_a_fault_that_says_what_was_skipped(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "a.csv", "id,text\n" + 'a","b\n' * 200))
    assert len(rows) == MAX_RECOVERIES + 1
    assert rows[-1].fault.endswith(f"; {200 - len(rows)} lines after it were skipped")


def test_a_cell_longer_than_the_limit_is_a_fault(tmp_path: Path) -> None:
    long = "x" * (MAX_CELL + 1)
    path = write(tmp_path / "a.csv", f"id,text\n1,{long[:-1]}\n2,{long}\n3,ok\n")
    rows = read(path)
    assert [bool(row.fault) for row in rows] == [False, True, False]


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_RECORD", 1_000)
    long = "x" * 10_000
    table = read(write(tmp_path / "a.csv", f"id,text\n1,{long}\n2,ok\n"))
    assert [(row.line, bool(row.fault)) for row in table] == [(2, True), (3, False)]
    objects = read(write(tmp_path / "a.jsonl", f'{{"text":"{long}"}}\n{{"text":"ok"}}\n'))
    assert [(row.line, row.fault) for row in objects] == [(1, "is longer than 1,000 characters"), (2, "")]


def test_headings_are_trimmed_numbered_and_told_apart() -> None:
    assert column_names([" Comment ", "", "Comment", "a\n b"]) == [
        "Comment",
        "column 2",
        "Comment (2)",
        "a b",
    ]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=30),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_texts_written_as_csv_come_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str, encoding: str
) -> None:
    rows = [["n", "text"], *([str(i), text] for i, text in enumerate(texts))]
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", as_csv(rows, delimiter), encoding)
    found = read(path, encoding=encoding, delimiter=delimiter)
    assert [row.cells and row.cells["n"] for row in found] == [str(i) for i in range(len(texts))]
    assert [(row.cells or {}).get("text", "") for row in found] == [
        kept if (kept := text.replace("\0", "")).strip() else "" for text in texts
    ]


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        '{"text": "fine", "author": {"email": "a@b.example", "id": 4}, "tags": ["x"], "metadata": {"a": {"b": 1}}}',
        "",
        '{"text": "cut',
        "[1, 2]",
        '{"text": "half of a pair: \\ud83d", "rating": null}',
        '{"n": 1e999, "big": ' + "9" * 5_000 + "}",
        "[" * 100_000,
        '{"a": ' + "[" * 600 + "]" * 600 + "}",
        '{"text": "line\\u2028separator \u2028 inside"}',
    ]
    rows = read(write(tmp_path / "a.jsonl", "\ufeff" + "\n".join(lines)))
    assert [row.line for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9]
    assert rows[0].cells == {
        "text": "fine",
        "author.email": "a@b.example",
        "author.id": 4,
        "tags": ["x"],
        "metadata": {"a": {"b": 1}},
    }
    assert [row.fault for row in rows[1:]] == [
        "is broken JSON: Unterminated string starting at (column 10)",
        "is not a JSON object",
        "",
        "is broken JSON: a number has too many digits",
        "is nested too deeply",
        "is nested deeper than 20 levels",
        "",
    ]
    assert rows[3].cells == {"text": "half of a pair: "}


def test_files_are_told_apart_by_content_when_the_name_does_not_say(tmp_path: Path) -> None:
    assert open_file(write(tmp_path / "a.txt", '\n{"text": "x"}\n')).kind == "JSONL"
    assert open_file(write(tmp_path / "b.txt", "text\nx\n")).kind == "CSV"
    assert open_file(write(tmp_path / "c.json", '{"text": "x"}\n')).kind == "JSONL"
    with pytest.raises(Invalid, match=r"jq -c '\.\[\]'"):
        open_file(write(tmp_path / "d.json", json.dumps([{"text": "x"}], indent=2)))


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        open_file(tmp_path / "none.csv")
    with pytest.raises(Invalid, match="is empty"):
        open_file(write(tmp_path / "a.csv", " \n"))
    with pytest.raises(Invalid, match="not a readable spreadsheet"):
        open_file(write(tmp_path / "a.xlsx", b"PK\x03\x04 not really"))
    with pytest.raises(Invalid, match="--sheet"):
        open_file(write(tmp_path / "b.csv", "text\nx\n"), sheet="Sheet1")


def workbook(path: Path) -> Path:
    book = Workbook()
    sheet = book.active
    sheet.title = "Reviews"
    sheet.append([None, "Comment", "Date", "Stars", "Seen"])
    sheet["B3"], sheet["C3"], sheet["D3"] = "first", datetime(2026, 5, 4, 13, 30), 4
    sheet["B6"], sheet["C6"], sheet["E6"] = "sixth", date(2026, 5, 5), True
    other = book.create_sheet("Other")
    other.append(["text"])
    other.append(["elsewhere"])
    book.create_sheet("Empty")
    book.save(path)
    return path


def test_spreadsheets_keep_dates_and_row_numbers(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx")
    file = open_file(path)
    assert (file.unit, file.size) == ("rows", 6)
    rows = list(file.rows())
    assert [row.line for row in rows] == [3, 6]
    assert rows[0].cells == {"Comment": "first", "Date": datetime(2026, 5, 4, 13, 30), "Stars": 4}
    assert rows[1].cells == {"Comment": "sixth", "Date": date(2026, 5, 5), "Seen": True}
    assert [row.cells for row in read(path, sheet="Other")] == [{"text": "elsewhere"}]
    with pytest.raises(Invalid, match="it has: Reviews, Other, Empty"):
        open_file(path, sheet="Revues")
    with pytest.raises(Invalid, match="'Empty' is empty"):
        open_file(path, sheet="Empty")


def test_every_field_of_a_submission_has_its_own_headings() -> None:
    fields = set(Submission.model_fields) - {"author", "metadata"}
    assert set(SYNONYMS) == fields | {f"author.{name}" for name in Author.model_fields}
    words = [word for row in SYNONYMS.values() for word in row]
    assert len(words) == len(set(words))
    assert all(normalised(field) in row for field, row in SYNONYMS.items())


def test_columns_are_guessed_and_the_rest_is_metadata() -> None:
    given = ["Review ID", "E-Mail", "App Version", "Submitted at", "Comment", "Message", "Ärger"]
    columns = assign_columns(given)
    assert dict(columns.targets) == {
        "Review ID": "external_id",
        "E-Mail": "author.email",
        "App Version": "version",
        "Submitted at": "created_at",
        "Comment": "text",
        "Message": "metadata",
        "Ärger": "metadata",
    }
    assert columns.notes == ("“Message” also looks like text, but “Comment” was taken",)


def test_given_columns_win() -> None:
    columns = assign_columns(["Comment", "Ärger", "Phone"], [("text", "ärger"), ("ignore", "Phone")])
    assert dict(columns.targets) == {"Comment": "metadata", "Ärger": "text", "Phone": "ignore"}
    assert columns.notes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        [("txt", "Comment")],
        [("text", "Coment")],
        [("text", "Comment"), ("title", "comment")],
        [("text", "Comment"), ("text", "Other")],
    ],
)
def test_wrong_columns_are_refused(wrong: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid, match="--map"):
        assign_columns(["Comment", "Other"], wrong)


@pytest.mark.parametrize(
    ("heading", "scale"),
    [
        ("NPS score", "nps"),
        ("Stars", "stars"),
        ("star_rating", "stars"),
        ("CSAT", "csat"),
        ("Start", None),
        ("Score", None),
    ],
)
def test_scales_that_headings_name(heading: str, scale: str | None) -> None:
    assert implied_scale(heading) == scale


NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("2026-05-04T12:00:00Z", NOON),
        ("2026-05-04 14:00:00 +0200", NOON),
        ("2026-05-04 12:00:00 UTC", NOON),
        ("20260504T120000Z", NOON),
        ("2026/5/4 14:00", NOON),
        ("04.05.2026 14:00", NOON),
        ("4/5/26, 2:00 PM", NOON),
        ("04-05-2026 14:00:00", NOON),
        ("4 May 2026 14:00", NOON),
        ("4-May-26 14:00", NOON),
        ("Mon, 04 May 2026 12:00:00 GMT", NOON),
        ("May 4th, 2026, 2:00 p.m.", NOON),
        ("1777896000", NOON),
        ("1777896000000", NOON),
        (1777896000, NOON),
        (1777896000000.0, NOON),
        (datetime(2026, 5, 4, 14), NOON),
        (NOON, NOON),
        (date(2026, 5, 4), NOON - timedelta(hours=14)),
        ("2026-05-04", NOON - timedelta(hours=14)),
        ("5/4/2026 12:30 AM", datetime(2026, 4, 4, 22, 30, tzinfo=UTC)),
        ("5/13/2026 14:00", NOON + timedelta(days=9)),
        ("2026-05-04T12:00:00.123456789Z", NOON.replace(microsecond=123456)),
    ],
)
def test_moments(written: Any, read_as: datetime) -> None:
    assert parse_moment(written, zone=ZoneInfo("Europe/Berlin"), day_first=True) == read_as


def test_an_unclear_date_follows_the_option() -> None:
    for day_first, month in ((True, 4), (False, 3)):
        moment = parse_moment("03/04/2026", zone=UTC, day_first=day_first)
        assert (moment.month, moment.day) == (month, 7 - month)


@pytest.mark.parametrize(
    "written",
    ["", "soon", "31/31/2026", "2026-02-30", "13:30", "12", 45_000, "May 2026", "1989-12-31", "9" * 14, True, [2026],
     "4 Foo 2026", "4/5/2026 13:00 pm", "4/5/2026 25:00", "2026-05-04 10:00 +99:99", "1/" * 40_000, "0001-01-01", 1e300],
)  # fmt: skip
def test_what_is_no_moment(written: Any) -> None:
    with pytest.raises(ValueError, match=r"^is (not|before)"):
        parse_moment(written, zone=ZoneInfo("Asia/Tokyo"), day_first=True)


@given(st.text("0123456789/-.: apmMayUTCZ+T,", max_size=40))
def test_any_text_is_a_moment_or_says_it_is_none(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_moment(text, zone=UTC, day_first=False).year >= 1990


def test_the_order_of_day_and_month() -> None:
    dates = ("25/03/2026", "03/25/2026 10:00", "03/04/26", "03/03/2026", "25.03.2026", "2026-03-25", 5)
    assert [day_month_order(one) for one in dates] == ["day", "month", "either", None, None, None, None]
