"""Rows of a file as submissions: values read as the fields they go to, gaps filled from the options."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from voice.errors import FieldError, Invalid
from voice.feedback.submission import RATING_RANGES, Submission, clean_record, field_errors, parse_record
from voice.sources.columns import IGNORE, METADATA, Columns, assign_columns, implied_scale, listed
from voice.sources.files import SAMPLE_ROWS, RowFile
from voice.sources.moments import day_month_order, parse_moment

# What exports write for "nothing here". Two people whose id reads "N/A" are not one person.
_NOTHING = frozenset(("n/a", "na", "#n/a", "null", "none", "nan", "-", "--", "undefined"))
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")
_SCALES = frozenset(RATING_RANGES)
# Words that may be cut; ids may not, since a cut id is another id.
_WORDS = {"author.name": 200, "author.account": 200, "author.segment": 64, "version": 64, "url": 2000}
_MAX_TAGS, _MAX_TAG = 50, 64
_METADATA_ROOM, _METADATA_VALUE, _METADATA_KEY = 12_000, 2_000, 200


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to read a file. `mapping` holds pairs of field and column; None means: find out from the file."""

    mapping: tuple[tuple[str, str], ...] = ()
    source: str | None = None
    channel: str = "file"
    rating_scale: str | None = None
    timezone: str = "UTC"
    day_first: bool | None = None
    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of one file become submissions."""

    columns: Columns
    source: str
    channel: str
    rating_scale: str | None
    zone: tzinfo
    day_first: bool
    notes: tuple[str, ...]


def slug_of(name: str, *, default: str) -> str:
    """A source's slug made of any name."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64].rstrip("-._")
    return slug or default


def make_plan(file: RowFile, options: ImportOptions, *, name: str) -> Plan:
    """Decide how to read a file from its columns and first rows. `name` is the default source.

    Raises Invalid, naming the option to give, when an option is wrong or no text or rating can be found.
    """
    _check(options)
    columns = assign_columns(file.columns, options.mapping)
    if columns.column("text") is None and columns.column("rating") is None:
        raise Invalid.field(
            "--map", f"no column looks like the text; try --map text=COLUMN; {listed(file.columns)}"
        )
    day_first, note = _decide_order(file, columns.column("created_at"), options.day_first)
    return Plan(
        columns=columns,
        source=options.source or slug_of(name, default="file"),
        channel=options.channel,
        rating_scale=_decide_scale(columns, options.rating_scale),
        zone=_zone(options.timezone),
        day_first=day_first,
        notes=tuple(filter(None, (file.note, *columns.notes, note))),
    )


def _check(options: ImportOptions) -> None:
    given = {"source": options.source, "channel": options.channel, "rating_scale": options.rating_scale}
    try:
        Submission.model_validate(given)
    except ValidationError as error:
        fault = field_errors(error)[0]
        raise Invalid.field(f"--{fault.field.replace('_', '-')}", fault.message) from None


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise Invalid.field("--timezone", f"{name!r} is unknown; try Europe/Berlin or UTC") from None


def _decide_scale(columns: Columns, given: str | None) -> str | None:
    column = columns.column("rating")
    if column is None or given:
        return given
    scale = implied_scale(column)
    if scale is None and columns.column("rating_scale") is None:
        scales = ", ".join(f"{name} {low}–{high}" for name, (low, high) in RATING_RANGES.items())
        raise Invalid.field(
            "--rating-scale", f"say what the ratings in {column!r} mean: {scales}; or --map metadata={column}"
        )
    return scale


def _decide_order(file: RowFile, column: str | None, given: bool | None) -> tuple[bool, str]:
    """Whether the day comes first in dates such as 03/04/2026, judged by the file's first rows."""
    if column is None:
        return bool(given), ""
    cells = (row.cells.get(column) for row in islice(file.rows(), SAMPLE_ROWS) if row.cells)
    orders = {day_month_order(cell) for cell in cells}
    if given is None and {"day", "month"} <= orders:
        return (
            False,
            "dates with the day first and with the month first are mixed; unclear ones were read month first",
        )
    if given is None and "either" in orders and not orders & {"day", "month"}:
        return False, "dates such as 03/04/2026 were read as month/day; --day-first reads them as day/month"
    return ("day" in orders if given is None else given), ""


def to_submission(
    cells: Mapping[str, Any], plan: Plan, *, now: datetime
) -> tuple[Submission | list[FieldError], bool]:
    """One row as a submission, or its faults; and whether something was cut."""
    reader = _Reader(plan)
    for column, value in cells.items():
        reader.read(column, value)
    record, cut = clean_record(reader.finished())
    if not reader.faults and "text" not in record and "rating" not in record:
        return [FieldError("text", "skipped: empty (neither text nor rating)")], False
    if reader.faults:
        return reader.faults, False
    return parse_record(record, now=now), cut or reader.cut


class _Reader:
    """Collects the fields of one row."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._record: dict[str, Any] = {"source": plan.source, "channel": plan.channel}
        self._author: dict[str, Any] = {}
        self._metadata: dict[str, Any] = {}
        self._room = _METADATA_ROOM
        self.faults: list[FieldError] = []
        self.cut = False

    def read(self, column: str, value: Any) -> None:
        """Take one filled cell."""
        target = self._plan.columns.target(column)
        if target == IGNORE:
            return
        if target == METADATA:
            self._keep_given(column, value)
        elif target in ("text", "title") or not is_nothing(value):
            try:
                self._take(target, column, value)
            except ValueError as error:
                self.faults.append(FieldError(target, str(error)))

    def finished(self) -> dict[str, Any]:
        """The record, in the shape of a submission."""
        if "rating" in self._record:
            self._record.setdefault("rating_scale", self._plan.rating_scale)
        else:
            self._record.pop("rating_scale", None)
        return self._record | {"author": self._author, "metadata": self._metadata}

    def _take(self, target: str, column: str, value: Any) -> None:
        if target in _HINTS:
            understood = _HINTS[target](_as_text(value).strip())
            if understood is None:
                self._keep(column, value)
            else:
                self._record[target] = understood
        elif target == "rating":
            self._record[target] = _as_number(value)
        elif target == "created_at":
            plan = self._plan
            self._record[target] = parse_moment(value, zone=plan.zone, day_first=plan.day_first)
        elif target == "tags":
            self._record[target] = self._tags(value)
        else:
            self._take_text(target, _as_text(value))

    def _take_text(self, target: str, text: str) -> None:
        if target != "text":
            text = " ".join(text.split()) if target == "title" else text.strip()
        if len(text) > (longest := _WORDS.get(target, len(text))):
            text, self.cut = text[:longest], True
        group, _, name = target.rpartition(".")
        (self._author if group else self._record)[name] = text

    def _tags(self, value: Any) -> list[str]:
        parts = value if isinstance(value, list) else re.split("[,;]", _as_text(value))
        words = dict.fromkeys(word for part in parts if (word := _as_text(part).strip()))
        self.cut |= len(words) > _MAX_TAGS or any(len(word) > _MAX_TAG for word in words)
        return [word[:_MAX_TAG] for word in list(words)[:_MAX_TAGS]]

    def _keep_given(self, column: str, value: Any) -> None:
        """A submission's own metadata object stays one; everything else goes in under its column's name."""
        if column == METADATA and isinstance(value, dict):
            for key, item in value.items():
                self._keep(key, item)
        else:
            self._keep(column, value)

    def _keep(self, name: str, value: Any) -> None:
        plain = _as_metadata(value)
        key = name[:_METADATA_KEY]
        if isinstance(plain, str) and len(plain) > _METADATA_VALUE:
            plain, self.cut = plain[:_METADATA_VALUE], True
        size = len(key) + len(json.dumps(plain, ensure_ascii=False)) + 8
        if size > self._room:
            self.cut = True
            return
        self._room -= size
        self._metadata[key] = plain


def is_nothing(value: Any) -> bool:
    """True for a cell that says there is no value, such as "N/A"."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NOTHING)


def _as_language(text: str) -> str | None:
    text = text.replace("_", "-")
    return text if _LANGUAGE.fullmatch(text) else None


def _as_channel(text: str) -> str | None:
    try:
        return Submission(channel=text.lower()).channel  # type: ignore[arg-type]
    except ValidationError:
        return None


def _as_scale(text: str) -> str | None:
    return text.lower() if text.lower() in _SCALES else None


# Fields that help but must not cost a row: what is not understood is kept as metadata.
_HINTS: dict[str, Callable[[str], str | None]] = {
    "language": _as_language,
    "channel": _as_channel,
    "rating_scale": _as_scale,
    "source": lambda text: slug_of(text, default="") or None,
}


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bool | int | float | timedelta):
        return str(value)
    raise ValueError("must be a text, not a list or an object")


def _as_number(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip().replace(",", ".")
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError("is not a number")


def _as_metadata(value: Any) -> Any:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return value
        number = float(value) if "." in value else int(value)
        # 007 and 1.10 are names, not numbers.
        return number if str(number) == value else value
    if isinstance(value, datetime | date | time | timedelta):
        return _as_text(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
