"""Time, as a value that is passed in."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)")


def utc_now() -> datetime:
    """The machine's clock, in UTC."""
    return datetime.now(UTC)


def epoch_hour(moment: datetime) -> int:
    """Whole hours since 1970-01-01T00:00Z."""
    return (moment - _EPOCH) // HOUR


def from_epoch_hour(hour: int) -> datetime:
    return _EPOCH + hour * HOUR


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with a trailing Z; microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_rfc3339(value: str) -> datetime:
    """A date-time with an offset, as UTC. Raises ValueError for anything else (dates alone, naive times)."""
    if not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 date-time with an offset, such as 2026-05-04T13:30:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a date that exists") from error
