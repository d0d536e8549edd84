"""National identity numbers of sixteen countries: a shape, a check, and where the shape is common a word for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from voice.redaction import contexts
from voice.redaction import identity_checks as checks
from voice.redaction.contexts import holds_any
from voice.redaction.kinds import Span


@dataclass(frozen=True, slots=True)
class _Rule:
    """`alone` is the way of writing that needs no word beside it. Where there is none, a text without any of the `stems`
    of the words (lower case) need not be searched.
    """

    pattern: re.Pattern[str]
    valid: Callable[[str], bool]
    words: re.Pattern[str]
    alone: re.Pattern[str] | None = None
    stems: tuple[str, ...] = ("",)


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<![0-9A-Za-z_])(?<![\d\x01][.,-]){pattern}(?![0-9A-Za-z_])(?![.-][\d\x01])", re.IGNORECASE
    )


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE)


# In the Italian code letters stand for digits where two people would share it.
_OMO = "[0-9LMNPQRSTUV]"
_RULES = (
    _Rule(
        _shape(r"\d{3}([ .-]?)\d{2}\1\d{4}"),
        checks.is_ssn,
        _words(r"ssn|itin|social security|soc\.? sec|social|tax(?:payer)? id"),
        re.compile(r"[0-8]\d\d-\d\d-\d{4}"),
    ),
    _Rule(
        _shape(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-D]"),
        checks.is_nino,
        _words(r"nino|national insurance|ni (?:number|no)|n\.i\."),
        re.compile(r"[A-Z]{2}([ -]?)\d{2}\1\d{2}\1\d{2}\1[A-D]"),
    ),
    _Rule(
        _shape(r"(?:[XYZ][ -]?\d{7}|\d{8}|\d{1,2}\.\d{3}\.\d{3})[ -]?[A-HJ-NP-TV-Z]"),
        checks.is_dni,
        _words(r"dni|nie|nif|documento(?: nacional)?(?: de identidad)?|identidad"),
        re.compile(r"(?:[XYZ]-?\d{7}|\d{8}|\d{1,2}\.\d{3}\.\d{3})-?[A-Z]"),
    ),
    _Rule(
        _shape(rf"[A-Z]{{3}} ?[A-Z]{{3}} ?{_OMO}{{2}}[A-EHLMPRST]{_OMO}{{2}} ?[A-Z]{_OMO}{{3}} ?[A-Z]"),
        checks.is_codice_fiscale,
        _words(r"codice fiscale|c\.?f\.?"),
        re.compile(r"[A-Za-z0-9 ]+"),
    ),
    _Rule(
        _shape(
            r"[12][ .]?\d{2}[ .]?(?:0[1-9]|1[0-2]|[2-9]\d)[ .]?(?:\d{2}|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d{2}"
        ),
        checks.is_nir,
        _words(r"nir|s[ée]cu(?:rit[ée] sociale)?|insee|num[ée]ro de s[ée]cu\w*"),
        re.compile(r"[0-9AaBb .]+"),
    ),
    _Rule(
        _shape(r"\d{3}[. ]?\d{3}[. ]?\d{3}[- ]?\d{2}"),
        checks.is_cpf,
        _words(r"cpf"),
        re.compile(r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
    ),
    _Rule(
        _shape(r"(?:\d{4}[ .-]?\d{2}[ .-]?\d{3}|\d{3}[ .-]?\d{3}[ .-]?\d{3})"),
        checks.is_bsn,
        _words(r"bsn(?:-?nummer)?|burgerservicenummer|sofi-?nummer"),
        stems=("bsn", "burgerservice", "sofi"),
    ),
    _Rule(
        _shape(r"[1-9]\d[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}"),
        checks.is_steuer_id,
        _words(
            r"steuer-?id(?:entifikationsnummer|nr)?|steuer-?identnummer|steuerliche \w+nummer|id-?nr|idnr|tin|tax id"
        ),
        stems=("steuer", "id-nr", "idnr", "tin", "tax"),
    ),
    _Rule(
        _shape(r"[2-9]\d{3}([ -]?)\d{4}\1\d{4}"),
        checks.is_aadhaar,
        _words(r"aa?dh?aar|aadhar|uidai|uid|आधार"),
        stems=("adhar", "adhaar", "uid", "आधार"),
    ),
    _Rule(
        _shape(r"[1-3568-9]\d{2}[ .]?\d{3}[ .]?\d{3}"),
        checks.is_nif,
        _words(r"nif|contribuinte|n[úu]mero fiscal"),
        stems=("nif", "contribuinte", "fiscal"),
    ),
    _Rule(_shape(r"\d{11}"), checks.is_pesel, _words(r"pesel"), stems=("pesel",)),
    _Rule(
        _shape(r"\d{3}([ -]?)\d{3}\1\d{3}"),
        checks.is_sin,
        _words(r"sin|social insurance|assurance sociale|nas"),
        stems=("sin", "social insurance", "assurance sociale", "nas"),
    ),
    _Rule(
        _shape(r"\d{2}[ .]?\d{2}[ .]?\d{2}[ .-]?\d{3}[ .]?\d{2}"),
        checks.is_rrn,
        _words(r"rijksregisternummer|rijksregister|registre national|insz|niss|rrn"),
        re.compile(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d"),
    ),
    _Rule(
        _shape(r"756([ .]?)\d{4}\1\d{4}\1\d{2}"),
        checks.is_ahv,
        _words(r"ahv(?:-?nummer|-?nr)?|avs|sozialversicherungsnummer"),
        re.compile(r"756\.\d{4}\.\d{4}\.\d\d"),
    ),
    _Rule(
        _shape(r"(?:19|20)?\d{6}[ +-]?\d{4}"),
        checks.is_personnummer,
        _words(r"personnummer|personnr|samordningsnummer"),
        stems=("personn", "samordning"),
    ),
    _Rule(
        _shape(r"\d{7} ?[A-W][A-IW]?"),
        checks.is_pps,
        _words(r"ppsn?|p\.p\.s|personal public service"),
        stems=("pps", "p.p.s", "personal public"),
    ),
    _Rule(_shape(r"\d{3}([ -]?)\d{3}\1\d{4}"), checks.is_nhs, _words(r"nhs"), stems=("nhs",)),
)
_SEPARATORS = {ord(separator): None for separator in " .-"}


def _named(rule: _Rule, text: str, start: int, end: int) -> bool:
    return contexts.beside(rule.words, text, start, end)


def _find(text: str, rule: _Rule) -> Iterator[Span]:
    for match in rule.pattern.finditer(text):
        start, end = match.span()
        if not rule.valid(match.group().upper().translate(_SEPARATORS)):
            continue
        alone = rule.alone is not None and rule.alone.fullmatch(match.group()) is not None
        if (alone and not contexts.names_reference(text, start)) or _named(rule, text, start, end):
            yield Span("national_id", start, end)


def find_national_ids(text: str, lowered: str) -> Iterator[Span]:
    """Identity numbers in a folded text; `lowered` is the same text in lower case.

    US, GB, ES, IT, FR, BR, BE and CH by their shape; these and NL, DE, IN, PT, PL, CA, SE and IE where a word names them.
    """
    for rule in _RULES:
        if holds_any(lowered, rule.stems):
            yield from _find(text, rule)
