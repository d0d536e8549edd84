"""A form of the text that patterns can match, with a way back to the original's positions.

Full-width and non-ASCII digits become ASCII, typographic spaces and hyphens become plain ones, invisible characters
vanish, `%40` and `%2B` become `@` and `+`, and each placeholder becomes one character that no pattern accepts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from voice.redaction.kinds import PLACEHOLDER_PATTERN, Span

# A control character: folding drops every control character of the original, so this one is ours alone.
FILLER = "\x01"

_INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u20e3\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff"
)
_SPACES = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_HYPHENS = "\u2010-\u2015\u2212\ufe58\ufe63"
_FULL_WIDTH = "\uff01-\uff5e"
_ESCAPES = {"%40": "@", "%2b": "+", "\ufe6b": "@", "\u2024": ".", "\u2019": "'", "\u2018": "'"}

_SPECIAL = re.compile(
    rf"(?P<mask>{PLACEHOLDER_PATTERN})|(?P<drop>[{_INVISIBLE}]+)|(?P<space>[{_SPACES}])|(?P<hyphen>[{_HYPHENS}])"
    rf"|(?P<wide>[{_FULL_WIDTH}])|(?P<digit>(?![0-9])\d)|(?P<escape>%40|%2[Bb]|[\ufe6b\u2024\u2018\u2019])"
)
# Of these every special sequence that an ASCII text can hold begins with or is one.
_SPECIAL_ASCII = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\[%]")


def _replacement(kind: str | None, found: str) -> str:
    match kind:
        case "mask":
            return FILLER
        case "space":
            return " "
        case "hyphen":
            return "-"
        case "wide":
            return chr(ord(found) - 0xFEE0)
        case "digit":
            return str(unicodedata.decimal(found))
        case "escape":
            return _ESCAPES[found.lower()]
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text. `starts[i]` is where its character `i` begins in the original; None means they are the same."""

    text: str
    starts: list[int] | None
    length: int

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The range of the original text that the range `start:end` of the folded text stands for."""
        if self.starts is None:
            return start, end
        return self.starts[start], self.starts[end] if end < len(self.starts) else self.length

    def blank(self, spans: Iterable[Span]) -> Folded:
        """The same text with each of the spans (in order, not overlapping) turned into one filler character."""
        starts = list(range(self.length)) if self.starts is None else self.starts
        pieces: list[str] = []
        kept: list[int] = []
        position = 0
        for span in spans:
            pieces += self.text[position : span.start], FILLER
            kept += starts[position : span.start + 1]
            position = span.end
        pieces.append(self.text[position:])
        kept += starts[position:]
        return Folded("".join(pieces), kept, self.length)


def fold(text: str) -> Folded:
    """Fold a text for matching. Linear in its length; a text with nothing to fold is returned as it is."""
    if (text.isascii() and _SPECIAL_ASCII.search(text) is None) or _SPECIAL.search(text) is None:
        return Folded(text, None, len(text))
    pieces: list[str] = []
    starts: list[int] = []
    position = 0
    for match in _SPECIAL.finditer(text):
        pieces.append(text[position : match.start()])
        starts += range(position, match.start())
        position = match.end()
        if replacement := _replacement(match.lastgroup, match.group()):
            pieces.append(replacement)
            starts.append(match.start())
    pieces.append(text[position:])
    starts += range(position, len(text))
    return Folded("".join(pieces), starts, len(text))
