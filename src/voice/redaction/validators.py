"""Proofs that a run of characters is what its shape suggests: checksums, registries, lengths."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_CARD_PREFIXES: tuple[tuple[re.Pattern[str], frozenset[int]], ...] = tuple(
    (re.compile(prefix), frozenset(lengths))
    for prefix, lengths in (
        (r"4", (13, 16, 19)),  # Visa
        (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),  # Mastercard
        (r"3[47]", (15,)),  # American Express
        (r"6011|64[4-9]|65", (16, 17, 18, 19)),  # Discover
        (r"30[0-5]|309|36|38|39", (14, 16)),  # Diners Club
        (r"352[89]|35[3-8]", (16,)),  # JCB
        (r"62|81", (16, 17, 18, 19)),  # UnionPay
        (r"50[0-9]{2}|5[6-8]|6304|6390|67|60|82|508", (13, 14, 15, 16, 17, 18, 19)),  # Maestro, RuPay, Elo
        (r"220[0-4]", (16, 17, 18, 19)),  # Mir
    )
)


def luhn(digits: str) -> bool:
    """The Luhn check (ISO/IEC 7812-1 annex B) over a string of ASCII digits."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A payment card: a network's prefix, a length that network issues, and the Luhn check."""
    known = any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _CARD_PREFIXES)
    return known and len(set(digits)) > 1 and luhn(digits)


@lru_cache(maxsize=1024)
def iban_length(country: str) -> int | None:
    """How many characters an IBAN of this country (two capitals) has; None where the country has none."""
    # Imported at first use: the registry of a few hundred kilobytes is parsed on import.
    from schwifty import registry
    from schwifty.exceptions import SchwiftyException

    try:
        return registry.get_iban_spec(country).iban_length
    except SchwiftyException:
        return None


def is_iban(compact: str) -> bool:
    """An IBAN without separators, capitals: country, length, structure and check digits (ISO 13616)."""
    from schwifty import IBAN

    return bool(IBAN(compact, allow_invalid=True).is_valid)


def is_personal_ip(value: str) -> bool:
    """An address of a machine. Loopback, the unspecified address and netmasks name nobody."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    netmask = address.version == 4 and value.startswith(("255.", "0."))
    return not (address.is_loopback or address.is_unspecified or netmask)


@lru_cache(maxsize=512)
def _plan(region: str) -> tuple[str, re.Pattern[str]] | None:
    """A region's trunk prefix and the pattern of all its numbers without it; None where the plan rewrites prefixes."""
    from phonenumbers import PhoneMetadata

    metadata = PhoneMetadata.metadata_for_region(region, None)
    if (
        metadata is None
        or metadata.general_desc is None
        or metadata.national_prefix_transform_rule is not None
    ):
        return None
    return metadata.national_prefix or "", re.compile(metadata.general_desc.national_number_pattern or "")


def valid_phone(number: str, region: str | None) -> bool:
    """A number that the numbering plan (of its country code, or of `region`) has assigned.

    `number` is digits, with a leading `+` where it has a country code; `region` is ISO 3166 in capitals.
    """
    import phonenumbers

    home = None if number.startswith("+") else region
    if home is not None and (plan := _plan(home)) is not None:
        # The full check parses for tens of microseconds; most candidates fail the plan's outer pattern already.
        prefix, pattern = plan
        if not (pattern.fullmatch(number) or pattern.fullmatch(number.removeprefix(prefix))):
            return False
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    if home is not None:
        return phonenumbers.is_valid_number_for_region(parsed, home)
    return phonenumbers.is_valid_number(parsed)


def possible_phone(number: str, region: str | None) -> bool:
    """A number of a length the plan allows, even where it lies in a range kept for examples or not yet assigned."""
    import phonenumbers

    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False
