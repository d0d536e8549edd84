"""Keys and tokens: those that carry their issuer's prefix, and long random ones after a word that names them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from voice.redaction.contexts import holds_any
from voice.redaction.folding import FILLER
from voice.redaction.kinds import Span

_EDGE = r"(?<![0-9A-Za-z_-])"
# Issuers' own documentation of their prefixes; each begins with a literal so that a text without one costs little.
_ISSUED = re.compile(
    rf"{_EDGE}(?:"
    r"eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+){0,3}"  # JWT, JWE (RFC 7519)
    r"|(?:sk|pk|rk)_(?:live|test)_[0-9A-Za-z]{8,}+"  # Stripe
    r"|whsec_[0-9A-Za-z+/=]{16,}+"
    r"|gh[opsur]_[0-9A-Za-z]{20,}+|github_pat_\w{20,}+"  # GitHub
    r"|gl(?:pat|ptt|dt|rt|cbt)-[\w.-]{16,}+"  # GitLab
    r"|(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{12,}+"  # AWS
    r"|xox[abceoprs]-[0-9A-Za-z-]{8,}+|xapp-[0-9A-Za-z-]{16,}+"  # Slack
    r"|AIza[\w-]{30,}+|ya29\.[\w-]{16,}+|GOCSPX-[\w-]{16,}+"  # Google
    r"|sk-(?:proj-|svcacct-|ant-|or-)?[\w-]{20,}+"  # OpenAI, Anthropic, OpenRouter
    r"|SG\.[\w-]{16,}+\.[\w-]{16,}+"  # SendGrid
    r"|(?:npm|hf|dop_v1|shpat|shpca|shppa|shpss|sbp|lin_api|glsa|pul|rdme|dckr_pat|figd)_[\w-]{16,}+"
    r"|pypi-[\w-]{16,}+|NRAK-[0-9A-Z]{16,}+|key-[0-9a-f]{32}|SK[0-9a-f]{32}|AC[0-9a-f]{32}"
    r"|\d{8,10}:AA[\w-]{30,}+"  # Telegram
    r"|voice_[\w-]{24,}+"  # our own keys
    r")"
)
_PREFIXES = (
    "eyJ", "_live_", "_test_", "whsec_", "gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "gl", "AKIA", "ASIA",
    "AGPA", "AIDA", "AROA", "xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "sk-", "SG.", "npm_", "hf_", "dop_v1_", "shp",
    "sbp_", "lin_api_", "pul_", "rdme_", "dckr_pat_", "figd_", "pypi-", "NRAK-", "key-", "SK", "AC", ":AA", "voice_",
)  # fmt: skip
_HEADER = re.compile(
    r"(?<![^\W_])(?:(?i:bearer)[ :]{1,3}([\w.~+/=-]{12,}+)|(?i:authorization: ?basic) ([0-9A-Za-z+/=]{8,}+))"
)
_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:[0-9A-Za-z+/=:,\s]|-(?!-))*+")

_NAMED = re.compile(
    r"(?<![^\W_])(?:api[ _-]?(?:keys?|tokens?|secrets?)|(?:access|auth|refresh|session|id|bearer|personal access|security|csrf|"
    r"reset|device|push|bot|deploy)[ _-]?token|(?:secret|access|private|encryption|signing|account|master)[ _-]?(?:access[ _-]?)?key|"
    r"client[ _-]?secret|app[ _-]?secret|webhook[ _-]?secret|tokens?|secret|api[ -]?schlüssel|zugangstoken|zugriffstoken|zugangsschlüssel|"
    r"cl[ée] (?:d'api|api|secr[èe]te|d'acc[èe]s)|jeton(?: d'acc[èe]s)?|clave (?:de )?(?:la )?api|clave secreta|chiave (?:api|segreta)|"
    r"chave (?:de |da )?api|chave secreta|api[ -]?sleutel|toegangstoken)(?![^\W_])"
    r"[\"'`*]{0,2}\s{0,2}(?:(?:(?:is|was|ist|war|lautet|est|[ée]tait|es|era|[èeé]|value|here|still)(?=[\s:=(,])|[:=>-]{1,2}|\(|,)\s{0,2}){0,3}"
    r"[\"'`(<]{0,2}([0-9A-Za-z_\-.+/=~]{16,512}+)",
    re.IGNORECASE,
)
_NAME_STEMS = (
    "key", "token", "secret", "jeton", "schlüssel", "clé", "cle ", "clave", "chiave", "chave", "sleutel",
)  # fmt: skip
_WORDY = re.compile(r"[A-Za-z]{2,}(?:[-_./][A-Za-z]{2,})*\Z")
_LEAST_BITS = 3.0
# Longer than a word that someone would write after "token:" or "Bearer".
_NO_WORD = 24


def entropy(value: str) -> float:
    """Shannon entropy of the value's own characters, in bits per character."""
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def looks_random(value: str) -> bool:
    """Letters and digits mixed with at least three bits a character: what a key looks like and a word does not."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and entropy(value) >= _LEAST_BITS and not _WORDY.match(value)


def _key_blocks(text: str) -> Iterator[Span]:
    position = 0
    while (begin := _KEY_BEGIN.search(text, position)) is not None:
        body = _KEY_BODY.match(text, begin.end())
        end = body.end() if body else begin.end()
        closing = _KEY_END.match(text, end)
        position = closing.end() if closing else end
        yield Span("token", begin.start(), position)


def find_tokens(text: str, lowered: str) -> Iterator[Span]:
    """Keys and tokens in a folded text; `lowered` is the same text in lower case."""
    if holds_any(text, _PREFIXES):
        for match in _ISSUED.finditer(text):
            yield Span("token", *match.span())
    if "bearer" in lowered or "basic" in lowered:
        for match in _HEADER.finditer(text):
            value = match[match.lastindex or 0]
            if len(value) >= _NO_WORD or not value.isalpha():
                yield Span("token", *match.span(match.lastindex or 0))
    if "-----BEGIN" in text:
        yield from _key_blocks(text)
    if holds_any(lowered, _NAME_STEMS):
        for match in _NAMED.finditer(text):
            value = match[1].rstrip(".-=/~") if not match[1].endswith("=") else match[1]
            assigned = text[match.start(1) - 1] in "=:\"'`" or text[match.start(1) - 2] in "=:"
            unworded = assigned and len(value) >= _NO_WORD and value.isalnum()
            if FILLER not in value and (unworded or looks_random(value)):
                yield Span("token", match.start(1), match.start(1) + len(value))
