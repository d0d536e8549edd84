"""Feedback items as lines of a file: CSV for spreadsheets, with formulas neutralised, or JSONL."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal

Format = Literal["csv", "jsonl"]
Row = Mapping[str, Any]
Cell = str | int | float | None

# What may stand before the sign that makes a formula: blanks and invisible characters, which spreadsheets skip, and
# quotes, which they take as part of the file's syntax. Breaks and separators are not here: they begin a new cell.
_SKIPPED = r"(?:[^\S\t\r\n]|[\"'`\u200b-\u200f\u2060\ufeff])*"
_SIGNS = r"[=+\-@＝＋－＠﹦﹢﹣﹫]"
_FORMULA = re.compile(rf"^(?=[\"']*[\t\r\n])|(^|[;\t\r\n])(?={_SKIPPED}{_SIGNS})")


def neutralised(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula: a `'` before every sign that could begin one.

    A sign can begin a formula at the start of the cell, and inside it after a break, a tab or a semicolon, where a
    spreadsheet that expects another separator than the comma begins a cell of its own
    (https://owasp.org/www-community/attacks/CSV_Injection).
    """
    return _FORMULA.sub(lambda found: f"{found[1] or ''}'", text)


def _joined(values: Sequence[Any]) -> str:
    return "; ".join(map(str, values))


def _analysis(*path: str) -> Callable[[Row], Any]:
    def read(item: Row) -> Any:
        found: Any = item["analysis"]
        for name in path:
            found = None if found is None else found[name]
        return found

    return read


def _theme(name: str) -> Callable[[Row], Any]:
    return lambda item: item["theme"] and item["theme"][name]


def _json(name: str) -> Callable[[Row], str]:
    return lambda item: json.dumps(item[name], ensure_ascii=False) if item[name] else ""


_PLAIN = (
    "id",
    "created_at",
    "received_at",
    "status",
    "source",
    "channel",
    "external_id",
    "response_id",
    "thread_id",
    "title",
    "text",
    "rating",
    "rating_scale",
    "version",
    "segment",
    "language",
    "url",
)

COLUMNS: dict[str, Callable[[Row], Any]] = {
    **{name: itemgetter(name) for name in _PLAIN},
    "tags": lambda item: _joined(item["tags"]),
    "metadata": _json("metadata"),
    "sentiment": _analysis("sentiment", "label"),
    "sentiment_score": _analysis("sentiment", "score"),
    "sentiment_confidence": _analysis("sentiment", "confidence"),
    "intent": _analysis("intent"),
    "urgency": _analysis("urgency"),
    "topics": lambda item: _joined([topic["id"] for topic in (_analysis("topics")(item) or ())]),
    "theme_id": _theme("id"),
    "theme": _theme("name"),
    "model": _analysis("model"),
}
AUTHOR = ("id", "name", "account")
"""What `authors` adds: columns author_id, author_name and author_account."""


def without_author(item: Row) -> dict[str, Any]:
    """The item without who said it; its segment stays, as a field of its own."""
    return {name: value for name, value in item.items() if name != "author"}


def lines(items: Sequence[Row], format: Format, *, authors: bool) -> bytes:
    """The lines of some items, UTF-8. Without `authors` nothing of an author but the segment is in them."""
    if format == "jsonl":
        shown = items if authors else [without_author(item) for item in items]
        return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in shown)
    return _csv([_cells(item, authors=authors) for item in items])


def header(format: Format, *, authors: bool, bom: bool) -> bytes:
    """What stands before the first item; `bom` marks a CSV as UTF-8, which some spreadsheets need to see."""
    if format == "jsonl":
        return b""
    names = [*COLUMNS, *(f"author_{name}" for name in AUTHOR if authors)]
    return (b"\xef\xbb\xbf" if bom else b"") + _csv([names])


def _cells(item: Row, *, authors: bool) -> list[Cell]:
    values = [read(item) for read in COLUMNS.values()]
    if authors:
        author = item["author"] or {}
        values += [author.get(name) for name in AUTHOR]
    return [neutralised(value) if isinstance(value, str) else value for value in values]


def _csv(rows: Sequence[Sequence[Cell]]) -> bytes:
    """RFC 4180: CRLF, and every text in quotes."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return out.getvalue().encode()
