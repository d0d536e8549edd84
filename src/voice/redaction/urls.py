"""Links: where they are, and the secrets in their query, fragment, user part and path."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voice.redaction.kinds import Span
from voice.redaction.tokens import looks_random

_LINK = re.compile(
    r"(?<![0-9A-Za-z+.-])(?:[A-Za-z][0-9A-Za-z+.-]*+://|www\.)[^\s<>\"“”«»`\x01]++", re.IGNORECASE
)
_USER = re.compile(r"://([^\s/?#@:\x01\"<>]*+:[^\s/?#@\x01\"<>]++)@")

# Whatever stands behind these names opens something.
_ALWAYS = (
    r"(?:[a-z0-9]+[_.-])*?(?:access|auth|refresh|id|session|csrf|xsrf|reset|reset[_-]?password|password[_-]?reset|login|sso|verification|"
    r"verify|confirm(?:ation)?|activation|invit(?:e|ation)|magic|unsubscribe|security|user|api|app|client|bearer|oauth|jwt|"
    r"share|shared|download|email|one[_-]?time)?[_-]?(?:tokens?|tkn|tok)"
    r"|(?:x[_-])?(?:api|access|secret|private|auth|client|app|subscription|account|shared|master)[_-]?(?:access[_-]?)?key(?:[_-]?id)?"
    r"|(?:client|app|consumer|api|shared)?[_-]?secret|(?:user)?pass(?:word|wd|phrase|code)?|pwd|pw|pin|passwort|mdp|"
    r"contrase(?:n|ñ|%c3%b1)a|senha|wachtwoord"
    r"|jwt|otp|totp|bearer|authorization|credentials?|x-amz-(?:signature|security-token|credential)|x-goog-(?:signature|credential)"
    r"|sig|signature|hmac|saml(?:request|response|art)|(?:php)?sess(?:ion)?(?:[_-]?(?:id|key))?|j?sessionid|sid|phpsessid|"
    r"oauth[_-]?verifier|code[_-]?verifier|auth|magic|webhook[_-]?key|recovery[_-]?(?:code|key)"
)
# These name a secret as often as a page or a voucher: the value decides.
_SOMETIMES = r"code|key|k|t|h|hash|ticket|invite|invitation|state|nonce|link|s|u|c|reset|verify|confirm|activate|activation|login|unsubscribe"
_VALUE = r"((?:(?!%26|%23|&amp;)[^\s&#;\"'<>`\x01)\]}])+)"
_PARAMETER = re.compile(
    rf"(?:[?&#;/!]|%3F|%26|%23|&amp;)(?:amp;)?(?:(?P<always>{_ALWAYS})|(?P<sometimes>{_SOMETIMES}))(?:\[\]|%5B%5D)?(?:=|%3D){_VALUE}",
    re.IGNORECASE,
)
_PATH = re.compile(
    r"/(?:[a-z]+[_-])*?(?:reset|resetpassword|password|passwords?|recover|recovery|verify|verification|verif|confirm|confirmation|activate|"
    r"activation|invite|invitation|invites|magic|magiclink|magic-link|login|signin|sign-in|auth|sso|token|tokens|unsubscribe|"
    r"set-password|onetime|one-time|otp|optin|opt-in|accept|zuruecksetzen|passwort|reinitialiser|restablecer|"
    r"recuperar|reimposta|wachtwoord|redefinir)(?:[_-][a-z]+)*+/(?:[a-z]{2,12}/|\d{1,10}/)?"
    r"((?:[\w.~=+-]|%[0-9A-Fa-f]{2}){8,512}+)(?=[/?#\s.,;:!)\]}\"'>]|\Z)",
    re.IGNORECASE,
)
_HOOK = re.compile(
    r"(?:hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/|api\.telegram\.org/bot|"
    r"webhook\.office\.com/webhookb2/|outlook\.office\.com/webhook/|hooks\.zapier\.com/hooks/catch/)"
    r"([\w/@:-]{8,512}+)",
    re.IGNORECASE,
)
_TRAILING = ".,;:!?'"


def find_links(text: str) -> list[tuple[int, int]]:
    """Ranges of a folded text that are links with a scheme or "www."; empty at no cost where there is none."""
    if "://" not in text and "www." not in text and "WWW." not in text:
        return []
    return [match.span() for match in _LINK.finditer(text)]


def _opaque(value: str) -> bool:
    """Long and random enough to open a door: not a page name, a number, a voucher or another link."""
    return len(value) >= 12 and "://" not in value and looks_random(value)


def _opens(name: str, value: str) -> bool:
    return _opaque(value) or (name.lower() == "key" and len(value) >= 16 and "://" not in value)


def _parameters(text: str) -> Iterator[Span]:
    for match in _PARAMETER.finditer(text):
        value = match[match.lastindex or 0].rstrip(_TRAILING)
        if not value or (match["sometimes"] and not _opens(match["sometimes"], value)):
            continue
        start = match.start(match.lastindex or 0)
        yield Span("url_secret", start, start + len(value))


def find_url_secrets(text: str) -> Iterator[Span]:
    """Secrets of links in a folded text, with or without a scheme before them."""
    if "://" in text and "@" in text:
        for match in _USER.finditer(text):
            yield Span("url_secret", *match.span(1))
    if "=" in text or "%3d" in text or "%3D" in text:
        yield from _parameters(text)
    if "/" in text:
        for match in _PATH.finditer(text):
            value = match[1].rstrip(_TRAILING)
            if _opaque(value):
                yield Span("url_secret", match.start(1), match.start(1) + len(value))
        for match in _HOOK.finditer(text):
            yield Span("url_secret", *match.span(1))
