"""E-mail addresses: written plainly, spelled out with "(at)" and "(dot)", or spaced around the sign."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voice.redaction.contexts import holds_any
from voice.redaction.kinds import Span

_LOCAL_EXTRA = frozenset(".!#$%&'*+-^_~")
# Chinese, Japanese and Korean run into an address without a space; they are not part of it.
_FIRST_UNSPACED = "\u2e80"
_LABEL = r"[^\W_]++(?:-++[^\W_]++)*+"
_DOMAIN = re.compile(
    rf"\[[0-9a-fA-F:.]{{3,45}}\]|(?:{_LABEL}\.)+(?:xn--[a-z0-9-]{{2,59}}|[a-z]{{2,24}}(?![a-z0-9])|[^\W\d_a-z]{{2,24}})",
    re.IGNORECASE,
)
_TOP_LEVEL = re.compile(r"(?<![^\W_])[^\W\d_]{2,24}\Z")
_IMAGE = re.compile(r"[1-9](?:\.\d)?x\.(?:png|jpe?g|gif|webp|svg|pdf|avif)\Z", re.IGNORECASE)
_VERSION_LIKE = re.compile(r"v?\d+\.\d+(?:\.|\Z)")

_MAIL_HOSTS = (
    r"(?:gmail|googlemail|outlook|hotmail|live|yahoo|ymail|icloud|me|aol|gmx|web|proton(?:mail)?|pm|mail|fastmail|zoho|"
    r"orange|free|laposte|wanadoo|libero|virgilio|tiscali|ziggo|kpnmail|planet|telefonica|terra|uol|bol|sapo|t-online)"
)
_AT = r"(?:[(\[{<]\s?(?:at|@|arroba|arobase|chiocciola|apenstaartje|ät)\s?[)\]}>])"
_DOT = r"(?:[(\[{<]\s?(?:dot|punkt|point|punto|punt|ponto|\.)\s?[)\]}>])"
_LOCAL = r"(?<![\w.+-])[\w+-]++(?:\.[\w+-]++)*+"
_SPELLED = re.compile(
    rf"{_LOCAL}\s?{_AT}\s?[\w-]++(?:(?:\s?{_DOT}\s?|\sdot\s|\.)[\w-]++){{1,5}}", re.IGNORECASE
)
_TLD = r"(?:com|org|net|info|io|co|edu|gov|eu|uk|ca|au|de|ch|fr|es|nl|pt|br|ie|se|dk|fi|pl|example|test)"
_SAID_DOT = rf"\s(?:(?:punkt|point|punto|punt|ponto)\s(?={_TLD}\b)|dot\s)"
_SAID = re.compile(
    rf"(?P<local>{_LOCAL})\s(?:at|arroba|arobase|chiocciola|apenstaartje)\s"
    rf"(?:[\w-]++(?:{_SAID_DOT}[\w-]++){{0,3}}{_SAID_DOT}(?:{_TLD}|us|at|be|it|in|no|me)|(?P<site>{_MAIL_HOSTS}\.[a-z]{{2,3}}))\b",
    re.IGNORECASE,
)
_BRACKETED = (
    "(at", "[at", "{at", "<at", "( at", "[ at", "(@", "[@", "{@", "( @", "[ @", "(ä", "(ar", "[ar", "(chi",
    "(ap",
)  # fmt: skip
_SAID_SIGNS = (" at ", " arroba ", " arobase ", " chiocciola ", " apenstaartje ")
_SAID_DOTS = (
    " dot ", " punkt ", " point ", " punto ", " punt ", " ponto ", "mail.", "outlook.", "yahoo.", "gmx.",
    "icloud.",
)  # fmt: skip
_SPACED = re.compile(
    r"(?<![\w.+-])([\w+-]++(?:\.[\w+-]++)*+)(?: {1,2}@ {0,2}|@ {1,2})([\w-]++(?:(?:\.| \. )[\w-]++){1,4})"
)
_KNOWN_HOST = re.compile(rf"{_MAIL_HOSTS}\W", re.IGNORECASE)
_TELLING = re.compile(r"[\d._+]")
# What people do at a site. "sign in at outlook.com" and "shop at acme dot com" name the site, not a person.
_NOT_A_NAME = frozenset((
    "in", "up", "on", "me", "us", "it", "is", "are", "be", "was", "were", "look", "shop", "shopping", "buy",
    "bought", "order", "ordered", "work", "works", "working", "account", "accounts", "visit", "available",
    "hosted", "live", "online", "support", "help", "team", "people", "anyone", "someone", "site", "page",
    "store", "login", "signup", "register", "registered", "chat", "read", "seen", "found", "listed", "not",
    "only", "here", "there",
))  # fmt: skip


def _local_start(text: str, at: int, floor: int) -> int:
    start = at
    if at > floor and text[at - 1] == '"':
        opening = text.rfind('"', max(floor, at - 66), at - 1)
        return opening if 0 <= opening < at - 2 else at
    while start > floor and text[start - 1] < _FIRST_UNSPACED:
        if not (text[start - 1].isalnum() or text[start - 1] in _LOCAL_EXTRA):
            break
        start -= 1
    while start < at and not (text[start].isalnum() or text[start] == "_"):
        start += 1
    return start


def _is_remote(text: str, start: int, at: int, end: int) -> bool:
    """`git@host:path` names a repository, not a person."""
    return text[start:at].lower() in {"git", "hg", "svn"} and text[end : end + 1] in {":", "/"}


def _plain(text: str) -> Iterator[Span]:
    floor = 0
    at = text.find("@")
    while at >= 0:
        start = _local_start(text, at, floor)
        floor = at + 1
        match = _DOMAIN.match(text, at + 1) if start < at else None
        if match is not None:
            domain = match.group()
            usual = not _IMAGE.match(domain) and not _VERSION_LIKE.match(domain)
            if usual and not _is_remote(text, start, at, match.end()):
                yield Span("email", start, match.end())
                floor = match.end()
        at = text.find("@", at + 1)


def _spelled(text: str) -> Iterator[Span]:
    for match in _SPELLED.finditer(text):
        if _TOP_LEVEL.search(match.group().rstrip(")]}")):
            yield Span("email", *match.span())


def _said(text: str) -> Iterator[Span]:
    for match in _SAID.finditer(text):
        telling = _TELLING.search(match["local"]) is not None
        if telling or (match["site"] is None and match["local"].lower() not in _NOT_A_NAME):
            yield Span("email", *match.span())


def _spaced(text: str) -> Iterator[Span]:
    for match in _SPACED.finditer(text):
        local, host = match.groups()
        if (_TELLING.search(local) or _KNOWN_HOST.match(host)) and _TOP_LEVEL.search(host):
            yield Span("email", *match.span())


def find_emails(text: str, lowered: str) -> Iterator[Span]:
    """E-mail addresses in a folded text; `lowered` is the same text in lower case.

    Linear: every character is read at most once per direction.
    """
    if "@" in text:
        yield from _plain(text)
        if " @" in text or "@ " in text:
            yield from _spaced(text)
    if holds_any(lowered, _BRACKETED):
        yield from _spelled(text)
    if holds_any(lowered, _SAID_SIGNS) and holds_any(lowered, _SAID_DOTS):
        yield from _said(text)
