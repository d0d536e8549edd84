"""Telephone numbers: a shape proposes, the numbering plan decides, the words beside it break ties."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from voice.redaction import contexts
from voice.redaction.folding import FILLER
from voice.redaction.kinds import Span
from voice.redaction.validators import possible_phone, valid_phone

_GROUPS = r"(?:[ ()./-]{0,3}+\d++)"
_EDGE = r"(?<![0-9A-Za-z#+])"
_INTERNATIONAL = re.compile(rf"(?:\+ ?|(?<![0-9A-Za-z+])00 ?(?=[1-9]))\(?\d{{1,3}}\)?{_GROUPS}{{1,9}}+")
_TRUNK = re.compile(rf"{_EDGE}(?:\(0[1-9]\d{{0,4}}\)|0[1-9]\d*+){_GROUPS}{{0,6}}+")
_NANP = re.compile(
    rf"{_EDGE}(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{{4}}(?![0-9A-Za-z])(?![.-][\d{FILLER}])"
)
_SHAPED = re.compile(
    rf"{_EDGE}(?:\(\d\d\) ?9?\d{{4}}[ -]?\d{{4}}|[6-9]\d\d(?: \d\d){{3}})(?![0-9A-Za-z])(?! \d)"
)
_PLAIN = re.compile(rf"{_EDGE}\(?[1-9]\d*+{_GROUPS}{{0,6}}+")
# Not the start of a number: the rest of a decimal, a time, a longer group of digits or a case number.
_GLUED = re.compile(rf"(?:\d|[\d{FILLER}][.,:/]|(?:\d\d|{FILLER})[ -]|\d-|[A-Za-z]-)\Z")
_EXTENSION = re.compile(
    r",?[ ]?(?:x|ext\.?|extension|poste|durchwahl|int\.|anexo|ramal|toestel)[ ]?\d{1,6}(?!\d)", re.IGNORECASE
)
_NUMBER = re.compile(r"\d+")
_NOT_AFTER = re.compile(r"[0-9A-Za-z]|:\d|[.,]\d|%")

# French numbers come in five pairs; German ones are of any length and would take the next number's first pair along.
_PAIRS = re.compile(r"0\d(?:[ .-]\d\d){4}(?!\d)")
_MOBILE = re.compile(r"0(?:[67]\d{8}|7\d{9}|1[567]\d{8,9}|4\d{8})")
_TRUNK_REGIONS = {
    9: ("BE", "NL", "DE", "IT", "FR", "CH", "SE"),
    10: ("FR", "NL", "GB", "DE", "IT", "BE", "CH", "AU", "IN"),
    11: ("GB", "DE", "IT", "IN", "BR"),
    12: ("DE", "AT", "BR"),
}
_PLAIN_REGIONS = {
    7: ("US",),
    8: ("DK", "NO", "SG", "HK"),
    9: ("ES", "PT", "PL", "FR", "NL"),
    10: ("US", "IT", "IN", "BR", "GB", "DE"),
    11: ("US", "BR", "DE", "CN"),
    12: ("IN", "BR", "ES", "IT", "GB", "DE"),
}
_LOCAL = re.compile(r"\d{3}[ .-]\d{4}\Z")

# The most digits a number has behind its plus (E.164), and the most characters between two numbers in a row.
_LONGEST = 15
_GAP = 3

_LinkTest = Callable[[int], bool]
_Range = tuple[int, int]


def _ends(text: str, start: int, end: int) -> list[int]:
    """Where a candidate may end: after each of its groups of digits, the longest first."""
    return [match.end() for match in _NUMBER.finditer(text, start, end)][::-1]


def _digits(text: str, start: int, end: int) -> str:
    return "".join(_NUMBER.findall(text, start, end))


def _closed(text: str, start: int, end: int) -> int:
    """The end with the bracket that a number opened and closes just behind it."""
    return (
        end + 1
        if text[end : end + 1] == ")" and "(" in text[start:end] and ")" not in text[start:end]
        else end
    )


def _search(
    pattern: re.Pattern[str], text: str, end_of: Callable[[int, int], int | None]
) -> Iterator[_Range]:
    """Numbers of one shape from left to right. `end_of(start, stop)` decides where a candidate ends, if it is one.

    A number may stand right behind another; what merely stands behind digits is part of something longer.
    """
    position = last = 0
    while (match := pattern.search(text, position)) is not None:
        start = match.start()
        behind = last > 0 and start - last <= _GAP
        end = None
        if behind or not _GLUED.search(text[max(0, start - _GAP) : start]):
            end = end_of(start, match.end())
        if end is None:
            position = start + 1
        else:
            yield start, end
            position = last = end


def _dials(text: str, start: int, end: int, check: Callable[[str, str | None], bool]) -> bool:
    digits = _digits(text, start, end)
    if text[start] != "+":
        digits = digits[2:]
        # A bare 00 before a North American number is far more often an article number.
        if digits.startswith("1") and not contexts.names_phone(text, start, end):
            return False
    if _NOT_AFTER.match(text, end) or not (7 if check is valid_phone else 9) <= len(digits) <= _LONGEST:
        return False
    return check("+" + digits, None)


def _international(text: str, in_link: _LinkTest) -> Iterator[_Range]:
    def end_of(start: int, stop: int) -> int | None:
        plus = text[start] == "+"
        if not plus and (in_link(start) or contexts.names_reference(text, start)):
            return None
        ends = _ends(text, start, stop)
        for check in (valid_phone, possible_phone) if plus else (valid_phone,):
            for end in ends:
                if _dials(text, start, end, check):
                    return end
        return None

    return _search(_INTERNATIONAL, text, end_of)


def _trunk(text: str, region: str | None, in_link: _LinkTest) -> Iterator[_Range]:
    def belongs(start: int, end: int) -> bool:
        digits = _digits(text, start, end)
        if not 9 <= len(digits) <= 12 or _NOT_AFTER.match(text, end):
            return False
        mobile = _MOBILE.fullmatch(digits) is not None
        bare = digits == text[start:end] and not mobile and region is None
        if (bare or in_link(start)) and not contexts.names_phone(text, start, end):
            return False
        regions = (region, *_TRUNK_REGIONS[len(digits)]) if region else _TRUNK_REGIONS[len(digits)]
        fictional = mobile and possible_phone(digits, region or "GB")
        return fictional or any(valid_phone(digits, candidate) for candidate in regions)

    def end_of(start: int, stop: int) -> int | None:
        if contexts.names_reference(text, start):
            return None
        pairs = _PAIRS.match(text, start, stop)
        ends = [*([pairs.end()] if pairs else []), *_ends(text, start, stop)]
        return next((end for end in ends if belongs(start, end)), None)

    return _search(_TRUNK, text, end_of)


def _american(text: str, in_link: _LinkTest) -> Iterator[_Range]:
    def end_of(start: int, stop: int) -> int | None:
        if in_link(start) or contexts.names_reference(text, start):
            return None
        spaced = not any(mark in text[start:stop] for mark in "-.(")
        check = valid_phone if spaced and not contexts.names_phone(text, start, stop) else possible_phone
        return stop if check(_digits(text, start, stop), "US") else None

    return _search(_NANP, text, end_of)


def _shaped(text: str, in_link: _LinkTest) -> Iterator[_Range]:
    def end_of(start: int, stop: int) -> int | None:
        if in_link(start) or contexts.names_reference(text, start):
            return None
        return stop if valid_phone(_digits(text, start, stop), "BR" if text[start] == "(" else "ES") else None

    return _search(_SHAPED, text, end_of)


def _plain(text: str, region: str | None) -> Iterator[_Range]:
    def belongs(start: int, end: int) -> bool:
        digits = _digits(text, start, end)
        if not 7 <= len(digits) <= _LONGEST or _NOT_AFTER.match(text, end):
            return False
        told = contexts.names_phone(text, start, end)
        if told and len(digits) == 7 and _LOCAL.match(text, start, end):
            return True
        if not told and (
            region is None or digits == text[start:end] or contexts.names_reference(text, start)
        ):
            return False
        # Exports and messengers drop the plus of a whole number.
        if told and len(digits) >= 11 and valid_phone("+" + digits, None):
            return True
        regions = _PLAIN_REGIONS.get(len(digits), ()) if told else ()
        return any(
            valid_phone(digits, candidate) for candidate in (region, *regions) if candidate is not None
        )

    def end_of(start: int, stop: int) -> int | None:
        return next((end for end in _ends(text, start, stop) if belongs(start, end)), None)

    return _search(_PLAIN, text, end_of)


def find_phones(text: str, *, region: str | None, in_link: _LinkTest) -> Iterator[Span]:
    """Telephone numbers in a folded text.

    `region` (ISO 3166, capitals) is where a number without a country code is read first; `in_link(position)` says
    whether a position lies in a link, where only an explicit `+` or a word such as `phone=` makes a number.
    """
    found = [*_international(text, in_link), *_american(text, in_link), *_shaped(text, in_link)]
    found += _trunk(text, region, in_link)
    if region is not None or contexts.mentions_phone(text):
        found += _plain(text, region)
    for start, end in found:
        closed = _closed(text, start, end)
        extension = _EXTENSION.match(text, closed)
        yield Span("phone", start, extension.end() if extension else closed)
