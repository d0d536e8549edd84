"""Dates and times as people and spreadsheets write them."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Literal

Order = Literal["day", "month", "either"]

EARLIEST_YEAR = 1990
_LONGEST = 64
# Epoch milliseconds since 1973, and seconds until the year 5138, lie on their own side of this.
_MILLISECONDS_FROM = 100_000_000_000
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH = re.compile(r"-?\d{9,13}(?:\.\d+)?")
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_TIME = (
    r"(?:(?:\s*,\s*|\s+|t)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?(?:\s*(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d))?)?"
)
_NUMERIC = re.compile(r"(?P<one>\d{1,2})(?P<mark>[./-])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4}|\d\d)" + _TIME)
_FORMS = (
    re.compile(r"(?P<year>\d{4})(?P<mark>[./-])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})" + _TIME),
    re.compile(
        _WEEKDAY
        + r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[ -](?P<name>[a-z]{3,9})\.?,?[ -](?P<year>\d{4}|\d\d)"
        + _TIME
    ),
    re.compile(
        _WEEKDAY + r"(?P<name>[a-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})" + _TIME
    ),
)


def parse_moment(value: Any, *, zone: tzinfo, day_first: bool) -> datetime:
    """A point in time, in UTC, from a date, a date-time, epoch seconds or milliseconds, or text.

    Text: ISO 8601; 2026/5/4; 4.5.2026; 4/5/2026 and 4-5-26, whose order `day_first` decides where both are possible;
    4 May 2026 and May 4, 2026; each with or without a time (24 hours or a.m. and p.m.) and an offset. `zone` holds
    where no offset is given. Raises ValueError.
    """
    try:
        moment = _read(value, zone, day_first=day_first).astimezone(UTC)
    except OverflowError:
        raise ValueError("is not a date that exists") from None
    if moment.year < EARLIEST_YEAR:
        raise ValueError(f"is before {EARLIEST_YEAR}")
    return moment


def day_month_order(value: Any) -> Order | None:
    """Which of day and month comes first in a date such as 25/03/2026; None for other forms and for other things."""
    match = (
        _NUMERIC.fullmatch(value.strip().lower())
        if isinstance(value, str) and len(value) <= _LONGEST
        else None
    )
    if match is None or match["mark"] == ".":
        return None
    one, two = int(match["one"]), int(match["two"])
    if one == two or (one > 12 and two > 12):
        return None
    if one > 12:
        return "day"
    return "month" if two > 12 else "either"


def _read(value: Any, zone: tzinfo, *, day_first: bool) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=zone)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(float(value))
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError("is not a date")
    text = value.strip().lower()
    if _EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        moment = _from_words(text, day_first=day_first)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _from_epoch(seconds: float) -> datetime:
    if abs(seconds) >= _MILLISECONDS_FROM:
        seconds /= 1000
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise ValueError("is not a date that exists") from None


def _from_words(text: str, *, day_first: bool) -> datetime:
    if match := _NUMERIC.fullmatch(text):
        one, two = int(match["one"]), int(match["two"])
        order = day_month_order(text)
        first = match["mark"] == "." or order == "day" or (order == "either" and day_first)
        return _build(match, month=two if first else one, day=one if first else two)
    for form in _FORMS:
        if match := form.fullmatch(text):
            parts = match.groupdict()
            if "name" not in parts:
                return _build(match, month=int(parts["month"]), day=int(parts["day"]))
            if (name := parts["name"][:3]) in _MONTHS:
                return _build(match, month=_MONTHS.index(name) + 1, day=int(parts["day"]))
    raise ValueError("is not a date; write it as 2026-05-04 or 2026-05-04T13:30:00Z")


def _build(match: re.Match[str], *, month: int, day: int) -> datetime:
    year = int(match["year"])
    hour = int(match["hour"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("is not a time that exists")
        hour = hour % 12 + (12 if match["half"] == "p" else 0)
    micro = int((match["fraction"] or "0").ljust(6, "0")[:6])
    try:
        return datetime(
            year if year > 99 else 2000 + year,
            month,
            day,
            hour,
            int(match["minute"] or 0),
            int(match["second"] or 0),
            micro,
            tzinfo=_offset(match["zone"]),
        )
    except ValueError:
        raise ValueError("is not a date that exists") from None


def _offset(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    size = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-size if text[0] == "-" else size)
