"""The kinds of personal data, their placeholders, and the shapes of a finding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

VERSION = "redact-1"

Kind = Literal[
    "email", "phone", "card", "iban", "ip", "national_id", "token", "password", "url_secret", "address"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"

# Where two findings overlap the earlier kind here wins, then the longer finding, then the first.
# Explicit secrets come first, then what a checksum proves, then what only a shape suggests.
PRIORITY: tuple[Kind, ...] = (
    "url_secret", "token", "password", "email", "iban", "card", "national_id", "ip", "phone", "address"
)  # fmt: skip
RANK: Mapping[Kind, int] = {kind: rank for rank, kind in enumerate(PRIORITY)}

PLACEHOLDER: Mapping[Kind, str] = {kind: f"[{kind}]" for kind in KINDS}
PLACEHOLDER_PATTERN = rf"\[(?:{'|'.join(re.escape(kind) for kind in KINDS)})\]"


@dataclass(frozen=True, slots=True)
class Span:
    """One finding: its kind and the half-open range of characters it covers."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Redacted:
    """A masked text, and how many of each kind were masked. Never holds the values."""

    text: str
    found: Mapping[Kind, int]
