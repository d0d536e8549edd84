"""Payment cards, IBANs and IP addresses; and the dates, times and identifiers that are none of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from voice.redaction import contexts, validators
from voice.redaction.kinds import Span

# What looks like a run of grouped digits but is a UUID, a date, a time or a book number.
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_CALENDAR = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9A-Za-z])"
    rf"|(?<![\d.-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d)"
    rf"|(?<![\d.-])(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1{_DAY}(?![-/.]?\d)"
    rf"|(?<![\d./-]){_DAY}([-/. ]){_DAY}\2(?:(?:19|20)\d\d|\d\d(?= ?\d\d?:\d\d))(?![-/.]?\d)"
    r"|(?<![\d:])\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?![\d:])"
    r"|(?<!\d)97[89][ -](?:\d[ -]?){9}\d(?!\d)",
    re.IGNORECASE,
)

_CARD = re.compile(
    r"(?<![0-9A-Za-z_])(?<!\d[.,])"
    r"(?:\d{4}(?P<gap>[ .-]{0,2})\d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?P<extra>(?P=gap)\d{1,3})?"
    r"|\d{4}(?P<wide>[ .-]{1,2})\d{6}(?P=wide)\d{4,5}|\d{13,15})"
    r"(?![0-9A-Za-z_])(?![.,]\d)"
)
_IN_LONGER_RUN = re.compile(r"\d{4}[ -]\Z"), re.compile(r"[ -]\d{2,4}(?![\d/])")

_IBAN_HEAD = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}(?=[ .-]?[0-9A-Za-z])")

_IPV4 = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z\x01][.])(?:\d{1,3}\.){3}\d{1,3}(?![0-9A-Za-z_])(?!\.[\d\x01])"
)
# 2.53.17.1 is a version more often than a machine: without a word for one it stays.
_SMALL = re.compile(r"\d(?:\.\d\d?){3}")
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,8}+(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?![0-9A-Za-z])"
)
_IPV6_GROUP = re.compile(r"[0-9A-Fa-f]{3,4}")


def find_calendar(text: str) -> list[tuple[int, int]]:
    """Ranges of a folded text that are UUIDs, dates, times or book numbers: no phone, card or id lies there."""
    return [match.span() for match in _CALENDAR.finditer(text)]


def _digits(value: str) -> str:
    return "".join(character for character in value if character.isdigit())


def _card_end(text: str, match: re.Match[str]) -> int | None:
    if validators.is_card(_digits(match.group())):
        return match.end()
    if (
        match["gap"]
        and match["extra"]
        and validators.is_card(_digits(text[match.start() : match.start("extra")]))
    ):
        return match.start("extra")
    return None


def find_cards(text: str, *, in_link: Callable[[int], bool]) -> Iterator[Span]:
    """Payment cards. Bare digits, or groups within a longer run, are none after words such as "order" or "tracking";
    bare digits in a link are one only where the link names a card.
    """
    position = 0
    while (match := _CARD.search(text, position)) is not None:
        start = match.start()
        position = start + 1
        end = _card_end(text, match)
        if end is None:
            continue
        before, after = _IN_LONGER_RUN
        grouped = bool(match["gap"] or match["wide"])
        loose = not grouped or before.search(text[max(0, start - 5) : start]) or after.match(text, end)
        doubtful = contexts.names_reference(text, start) or (in_link(start) and not grouped)
        if not (loose and doubtful) or contexts.names_card(text, start):
            yield Span("card", start, end)
            position = end


def _iban_end(text: str, start: int) -> int | None:
    length = validators.iban_length(text[start : start + 2].upper())
    if length is None:
        return None
    compact: list[str] = []
    position = start
    while position < len(text) and len(compact) < length:
        character = text[position]
        if character.isascii() and character.isalnum():
            compact.append(character)
        elif character not in " .-" or not text[position - 1].isalnum():
            return None
        position += 1
    if len(compact) < length or text[position : position + 1].isalnum():
        return None
    return position if validators.is_iban("".join(compact).upper()) else None


def find_ibans(text: str) -> Iterator[Span]:
    """IBANs of every country in the registry, in any grouping and case."""
    for match in _IBAN_HEAD.finditer(text):
        end = _iban_end(text, match.start())
        if end is not None:
            yield Span("iban", match.start(), end)


def find_ips(text: str) -> Iterator[Span]:
    """IP addresses, version 4 and 6, except loopback, netmasks and what the words before call a version."""
    for match in _IPV4.finditer(text):
        if not validators.is_personal_ip(match.group()) or contexts.names_version(text, match.start()):
            continue
        if contexts.names_ip(text, match.start()) or not _SMALL.fullmatch(match.group()):
            yield Span("ip", *match.span())
    if ":" not in text:
        return
    for match in _IPV6.finditer(text):
        value = match.group()
        if value.endswith(":") and not value.endswith("::"):
            value = value[:-1]
        if _IPV6_GROUP.search(value) and validators.is_personal_ip(value):
            yield Span("ip", match.start(), match.start() + len(value))
