"""JSON values: metadata, tags and the like, where the key says what the value is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping

from voice.redaction.kinds import KINDS, PLACEHOLDER, JSONValue, Kind, Span

DEPTH = 16

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PASSWORD_KEY = re.compile(
    r"(?:^|\s)(?:password|passwd|passphrase|passcode|pwd|pin|pin code|passwort|kennwort|mot de passe|mdp|contraseña|"
    r"wachtwoord|senha|cvv|cvc)\Z",
    re.IGNORECASE,
)
_TOKEN_KEY = re.compile(
    r"(?:^|\s)(?:token|secret|(?:api|access|secret|private|auth)\s?key|authorization|jwt|credentials?|cookie|"
    r"session id)\Z",
    re.IGNORECASE,
)
_SECRET_KEYS: Mapping[Kind, re.Pattern[str]] = {"password": _PASSWORD_KEY, "token": _TOKEN_KEY}
_PLACEHOLDERS = frozenset(PLACEHOLDER[kind] for kind in KINDS)

_Find = Callable[[str], list[Span]]
_Mask = Callable[[str, list[Span]], str]


class ValueWalker:
    """Masks one JSON value and counts what it masked. Made anew for each value."""

    def __init__(self, find: _Find, mask: _Mask) -> None:
        self._find = find
        self._mask = mask
        self.found: Counter[Kind] = Counter()

    def walk(self, value: JSONValue, key: str = "", depth: int = 0) -> JSONValue:
        """The value with its strings, keys and numbers masked. Containers nested deeper than `DEPTH` become null."""
        match value:
            case bool() | None:
                return value
            case str():
                return self._text(value, key)
            case int() | float():
                written = self._text(str(value), key)
                return value if written == str(value) else written
            case list():
                return None if depth >= DEPTH else [self.walk(item, key, depth + 1) for item in value]
            case dict():
                return None if depth >= DEPTH else self._members(value, depth)

    def _members(self, members: dict[str, JSONValue], depth: int) -> dict[str, JSONValue]:
        walked: dict[str, JSONValue] = {}
        for key, value in members.items():
            masked = base = self._plain(key)
            # Two addresses used as keys both become "[email]"; neither value may be lost.
            count = 1
            while masked in walked or (masked != key and masked in members):
                count += 1
                masked = f"{base} {count}"
            walked[masked] = self.walk(value, key, depth + 1)
        return walked

    def _plain(self, text: str) -> str:
        spans = self._find(text)
        self.found.update(span.kind for span in spans)
        return self._mask(text, spans)

    def _text(self, text: str, key: str) -> str:
        words = _HUMP.sub(" ", key).replace("_", " ").replace("-", " ").strip()
        if not words or not text or text in _PLACEHOLDERS:
            return self._plain(text)
        for kind, pattern in _SECRET_KEYS.items():
            if pattern.search(words):
                self.found[kind] += 1
                return PLACEHOLDER[kind]
        # Read behind its key, so that "ssn" or "phone" tells what a bare number is.
        lead = f"{words}: "
        spans = [
            Span(span.kind, span.start - len(lead), span.end - len(lead))
            for span in self._find(lead + text)
            if span.start >= len(lead)
        ]
        self.found.update(span.kind for span in spans)
        return self._mask(text, spans)
