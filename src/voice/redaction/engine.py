"""The redactor: fold, propose, resolve overlaps, mask, and look again until nothing is left."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from voice.redaction.addresses import find_addresses
from voice.redaction.emails import find_emails
from voice.redaction.folding import FILLER, fold
from voice.redaction.kinds import PLACEHOLDER, RANK, JSONValue, Kind, Redacted, Span
from voice.redaction.national_ids import find_national_ids
from voice.redaction.numbers import find_calendar, find_cards, find_ibans, find_ips
from voice.redaction.passwords import find_passwords
from voice.redaction.phones import find_phones
from voice.redaction.tokens import find_tokens
from voice.redaction.urls import find_links, find_url_secrets
from voice.redaction.values import ValueWalker

_DIGIT = re.compile(r"\d")
_SEVEN_DIGITS = re.compile(r"\d(?:[ ()./-]{0,3}\d){6}")
_PASSES = 24
_FEWEST_DIGITS_OF_AN_ID = 6
_BOUND_BY_CALENDAR = frozenset(("phone", "card", "national_id"))


def _at(ranges: list[tuple[int, int]], position: int) -> tuple[int, int]:
    """The last of the ranges (in order, not overlapping) that begins at or before the position; else an empty one."""
    index = bisect_right(ranges, position, key=itemgetter(0))
    return ranges[index - 1] if index else (0, 0)


def _numbers(text: str, lowered: str, links: list[tuple[int, int]], region: str | None) -> Iterator[Span]:
    yield from find_ips(text)
    if len(_DIGIT.findall(text)) < _FEWEST_DIGITS_OF_AN_ID:
        return
    yield from find_ibans(text)
    yield from find_national_ids(text, lowered)
    if not _SEVEN_DIGITS.search(text):
        return

    def in_link(position: int) -> bool:
        return position < _at(links, position)[1]

    yield from find_cards(text, in_link=in_link)
    yield from find_phones(text, region=region, in_link=in_link)


def _propose(text: str, links: list[tuple[int, int]], region: str | None) -> Iterator[Span]:
    """Every candidate of every kind in a folded text, each finder behind a cheap test of whether it can find any."""
    lowered = text.lower()
    yield from find_emails(text, lowered)
    yield from find_tokens(text, lowered)
    yield from find_passwords(text, lowered)
    if links or "=" in text or "/" in text or "%3" in text:
        yield from find_url_secrets(text)
    if _DIGIT.search(text) is None:
        return
    calendar = find_calendar(text)
    for span in _numbers(text, lowered, links, region):
        if span.kind not in _BOUND_BY_CALENDAR or _at(calendar, span.end - 1)[1] <= span.start:
            yield span
    yield from find_addresses(text, lowered)


def _resolve(candidates: Iterable[Span], length: int) -> list[Span]:
    """Spans that do not overlap: by priority of kind, then the longest, then the first. Linear in the text."""
    taken = bytearray(length)
    kept = []
    for span in sorted(candidates, key=lambda span: (RANK[span.kind], span.start - span.end, span.start)):
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start : span.end] = b"\x01" * (span.end - span.start)
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)


class Redactor:
    """Masks personal data in texts, JSON values and links. Holds no state between calls; safe to share by threads.

    `allow` are names of products and the like, matched without regard to case: a finding that lies wholly within one
    of them stays as it is.
    """

    def __init__(self, *, allow: Iterable[str] = ()) -> None:
        names = sorted({fold(name).text for name in allow if name.strip()}, key=len, reverse=True)
        self._allowed = re.compile("|".join(map(re.escape, names)), re.IGNORECASE) if names else None

    def find(self, text: str, *, region: str | None = None, link: bool = False) -> list[Span]:
        """Where personal data lies in `text`: spans in order, none overlapping. `link` says the text is one link.

        What is found is blanked and the rest read again until nothing new appears, so that masking a masked text
        changes nothing: every pass sees exactly what masking leaves. A second pass finds what the first one's
        findings hid; more than three need a text made for it, and `_PASSES` keeps the cost of such a one linear.
        """
        region = region.upper() if region else None
        folded = fold(text)
        found: list[Span] = []
        for _ in range(_PASSES):
            spans = self._scan(folded.text, region, link=link)
            if not spans:
                break
            found += (Span(span.kind, *folded.origin(span.start, span.end)) for span in spans)
            folded = folded.blank(spans)
        return sorted(found, key=lambda span: span.start)

    def _scan(self, text: str, region: str | None, *, link: bool) -> list[Span]:
        links = [(0, len(text))] if link else find_links(text)
        candidates = [
            span for span in _propose(text, links, region) if FILLER not in text[span.start : span.end]
        ]
        if candidates and self._allowed is not None:
            allowed = [match.span() for match in self._allowed.finditer(text)]
            candidates = [span for span in candidates if _at(allowed, span.start)[1] < span.end]
        return _resolve(candidates, len(text)) if candidates else []

    def redact(self, text: str, *, region: str | None = None) -> Redacted:
        """Mask a text. `region` (ISO 3166, such as "DE") is where telephone numbers without a country code belong."""
        spans = self.find(text, region=region)
        return Redacted(_mask(text, spans), _count(spans))

    def redact_value(self, value: JSONValue) -> tuple[JSONValue, Mapping[Kind, int]]:
        """Mask a JSON value: every string, key and number in it, each read with its key as context."""
        walker = ValueWalker(self.find, _mask)
        return walker.walk(value), dict(walker.found)

    def redact_url(self, url: str) -> Redacted:
        """Mask a link: secrets in its user part, query, fragment and path, and e-mail addresses and the like inside."""
        spans = self.find(url, link=True)
        return Redacted(_mask(url, spans), _count(spans))


def _count(spans: list[Span]) -> dict[Kind, int]:
    return dict(Counter(span.kind for span in spans))


def _mask(text: str, spans: list[Span]) -> str:
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces += text[position : span.start], PLACEHOLDER[span.kind]
        position = span.end
    pieces.append(text[position:])
    return "".join(pieces)
