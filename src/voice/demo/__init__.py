"""The demo launch: four weeks of feedback about a fictional product, placed so that it ends at a given moment.

The files store times as `offset_s`, seconds before the end of the launch (0 is the last row, negative lies after
it); the functions here turn them into moments. README.md beside this file says what is planted in the data.
"""

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any


def load(now: datetime) -> list[dict[str, Any]]:
    """The feedback of the demo launch, oldest first, the last row written at `now`.

    Each row has the shape of `POST /v1/feedback`; `created_at` is RFC 3339 in UTC, whole seconds.
    Raises ValueError when `now` carries no time zone.
    """
    end = _whole_second(now)
    return [_placed(json.loads(line), end, "created_at") for line in _read("launch.jsonl").splitlines()]


def exposure(now: datetime) -> dict[str, Any]:
    """How many studios used which version: `{"unit", "points": [{"at", "version", "exposed"}]}`.

    A point counts the studios exposed to that version during the 24 hours from `at` on; the points of one `at`
    add up to all active studios. Raises ValueError when `now` carries no time zone.
    """
    end = _whole_second(now)
    stored: dict[str, Any] = json.loads(_read("exposure.json"))
    return {**stored, "points": [_placed(point, end, "at") for point in stored["points"]]}


def releases(now: datetime) -> dict[str, Any]:
    """The product, its versions and the launch:
    `{"product", "versions": [{"version", "kind", "note", "released_at"}],
    "launch": {"name", "version", "starts_at", "planned_end_at"}}`.

    Raises ValueError when `now` carries no time zone.
    """
    end = _whole_second(now)
    stored: dict[str, Any] = json.loads(_read("releases.json"))
    launch = stored["launch"]
    return {
        "product": stored["product"],
        "versions": [_placed(version, end, "released_at") for version in stored["versions"]],
        "launch": {
            "name": launch["name"],
            "version": launch["version"],
            "starts_at": _before(end, launch["starts_offset_s"]),
            "planned_end_at": _before(end, launch["planned_end_offset_s"]),
        },
    }


def _read(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _whole_second(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    return now.astimezone(UTC).replace(microsecond=0)


def _placed(row: dict[str, Any], end: datetime, field: str) -> dict[str, Any]:
    """The row with its offset replaced by a moment under `field`."""
    kept = {key: value for key, value in row.items() if key != "offset_s"}
    return kept | {field: _before(end, row["offset_s"])}


def _before(end: datetime, offset_s: int) -> str:
    return f"{end - timedelta(seconds=offset_s):%Y-%m-%dT%H:%M:%SZ}"
