"""No text that a stranger wrote becomes a formula in a spreadsheet, whichever separator it expects."""

import csv
import io
import itertools
import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.helpers import post_all
from voice.search.tabular import COLUMNS, header, lines, neutralised

SIGNS = "=+-@＝＋－＠"
INVISIBLE = " \u00a0\u2003\u3000\u200b\ufeff\x0b\x0c\"'"
HOSTILE = st.text(
    st.sampled_from(SIGNS + INVISIBLE + "\t\r\n;,|a1(){}") | st.characters(codec="utf-8"), max_size=40
)


def begins_a_formula(cell: str) -> bool:
    """Judged on its own, not by the expression that the product uses."""
    return cell.startswith(("\t", "\r", "\n")) or signed(cell)


def signed(cell: str) -> bool:
    """A sign comes first, whatever a spreadsheet may pass over before it."""
    return cell.lstrip(INVISIBLE.replace("'", "") + "\t\r\n").startswith(tuple(SIGNS))


def restored(cell: str) -> str:
    """What a reader who knows the rule gets back."""
    skipped = r"(?:[^\S\t\r\n]|[\"'`\u200b-\u200f\u2060\ufeff])*"
    marked = rf"^'(?=[\"']*[\t\r\n])|(^|[;\t\r\n])'(?={skipped}[=+\-@＝＋－＠﹦﹢﹣﹫])"
    return re.sub(marked, lambda found: found[1] or "", cell)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", ["", " ", "  \u00a0", '"', "'", "\t", "\r", "\n", "\ufeff", '" \u200b'])
def test_signs_at_the_start(sign: str, before: str) -> None:
    text = f"{before}{sign}cmd|' /C calc'!A0"
    made = neutralised(text)
    assert not begins_a_formula(made)
    assert restored(made) == text


@pytest.mark.parametrize(
    "text", ["", "a=b", "1-2", "x@y", "Preis: -5 €", "good; bad", "'quoted'", "a\nb", "5"]
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert neutralised(text) == text


@given(HOSTILE)
def test_neutralised(text: str) -> None:
    made = neutralised(text)
    assert not begins_a_formula(made)
    assert restored(made) == text
    assert not [cell for cell in re.split(r"[;\t\r\n]", made) if signed(cell)]


def item(**given: Any) -> dict[str, Any]:
    plain = dict.fromkeys(COLUMNS) | {
        "tags": [],
        "metadata": {},
        "analysis": None,
        "theme": None,
        "author": None,
    }
    return plain | {"id": "1", "rating": -1.0} | given


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE), min_size=1, max_size=4))
def test_files_as_spreadsheets_read_them(texts: list[tuple[str, str, str]]) -> None:
    items = [
        item(text=a, title=b, tags=[c], metadata={c: a}, author={"id": a, "name": b, "account": c})
        for a, b, c in texts
    ]
    file = (header("csv", authors=True, bom=False) + lines(items, "csv", authors=True)).decode()
    rows = list(csv.DictReader(io.StringIO(file, newline="")))
    assert [(restored(row["text"]), restored(row["author_name"])) for row in rows] == [
        (a, b) for a, b, _ in texts
    ]
    assert {row["rating"] for row in rows} == {"-1.0"}  # a number stays one
    numbers = ("rating", "sentiment_score", "sentiment_confidence")
    for row in rows:
        assert not [cell for name, cell in row.items() if name not in numbers and begins_a_formula(cell)]
    usual = csv.field_size_limit(10_000_000)
    try:
        for separator in ";\t":  # what is read where another separator is usual: cells begin elsewhere
            for row in csv.reader(io.StringIO(file, newline=""), delimiter=separator):
                assert not [cell for cell in row if signed(cell)]
    finally:
        csv.field_size_limit(usual)


def test_through_the_api(api: TestClient) -> None:
    payloads = [
        f"{before}{sign}1+1" for before, sign in itertools.product(["", " ", "\t", '"', "x;", "x\n"], SIGNS)
    ]
    bodies = [
        {
            "text": payload,
            "title": payload,
            "tags": [payload],
            "version": payload,
            "external_id": payload,
            "thread_id": payload,
            "response_id": payload,
            "source": "formulas",
            "metadata": {payload: payload},
            "author": {"id": payload, "name": payload, "account": payload, "segment": payload},
        }
        for payload in payloads
    ]
    post_all(api, bodies)
    params = {"source": "formulas", "authors": "true"}
    file = api.get("/v1/export", params=params).content.decode()
    rows = list(csv.DictReader(io.StringIO(file, newline="")))
    assert len(rows) == len(payloads)
    assert not [cell for row in rows for cell in row.values() if begins_a_formula(cell)]
    assert {restored(row["title"]) for row in rows} == set(payloads)
    assert {restored(row["author_name"]) for row in rows} == set(payloads)
    jsonl = api.get("/v1/export", params=params | {"format": "jsonl"}).text
    assert {json.loads(line)["title"] for line in jsonl.splitlines()} <= set(payloads)
