"""Passwords and PINs: the value that follows, or precedes, a word for them in seven languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from voice.redaction.contexts import holds_any
from voice.redaction.folding import FILLER
from voice.redaction.kinds import Span

_WORDS = (
    r"pass\s?word|passwd|passphrase|passcode|pwd|psw|pword|passwort|pa[ßs]swort|kennwort|zugangscode|mot de passe|mdp|"
    r"contrase[nñ]a|wachtwoord|parola d'ordine|parola chiave|senha|palavra[- ]passe|palavra-chave|login ?code|"
    r"(?P<loose>pass|pw|clave|code secret|parola|codice segreto)"
)
_STEMS = (
    "pass", "pwd", "psw", "pword", "kennwort", "zugangscode", "mot de", "mdp", "contrase", "wachtwoord", "parola",
    "senha", "palavra", "clave", "pw", "code secret", "segreto", "login code", "logincode",
)  # fmt: skip
_COPULA = (
    r"(?:(?:still |now |always |just )?(?:is|was|were|has been)(?: still| now| always| just)?|ist(?: immer noch| jetzt)?|war|"
    r"lautete?t?|hei[ßs]t|est(?: toujours)?|c'est|[ée]tait|sigue siendo|es|era|[èeé]|foi|werd|blijft|"
    r"(?:is |was |been )?(?:changed|set|reset|updated) (?:it )?to|to|auf|naar|à|geändert auf|veranderd in)"
)
_STATES = frozenset(("is", "was", "ist", "war", "lautet", "est", "es", "era", "è", "é", "still"))
_VALUE = r"(?:[\"“„«`]\s?(?P<quoted>[^\"”“»`\n\x01]{1,64}?)\s?[\"”“»`]|(?P<bare>[^\s\x01]{3,64}+))"
_FORWARD = re.compile(
    rf"(?<![^\W_])(?:{_WORDS})(?=[\s:=(\"'`*]|->|-\s)[\"'`*]{{0,2}}(?=[\s:=(]|->|=>|-\s)(?P<mark>[ \t]{{0,2}}(?:[:=]|->|=>|-(?=\s)|\()\s{{0,2}})?"
    rf"(?:[ \t]{{0,2}}(?P<copula>{_COPULA})(?=[\s:=\"“„«`(]))?(?P<after>[ \t]?[:=]\s{{0,2}})?[ \t]{{0,2}}{_VALUE}",
    re.IGNORECASE,
)
_BACKWARD = re.compile(
    r"(?<![^\s\"'(“«])(?P<value>[^\s\x01]{4,64}+)[\"'”»)]?,?\s(?:is|was|ist|war|est|es|era|[èeé]|als|as|como|comme|come)\s"
    rf"(?:my|our|the|her|his|mein|unser|das|mon|notre|le|mi|nuestra|la(?: mia)?|il mio|mijn|ons|het|a(?: minha)?|minha|meu)\s"
    rf"(?:\w+\s)?(?:{_WORDS})(?![^\W_])",
    re.IGNORECASE,
)
_PIN = re.compile(
    r"(?<![^\W_])(?:(?:sim[ -]?|card[ -]?|code[ -]?|codice[ -]?|c[óo]digo[ -]?|karten-?)?pin(?:[ -]?(?:code|number|nummer|nr|zahl))?|"
    r"geheimzahl|puk|cvv2?|cvc2?|kartenprüfnummer|cryptogramme|security code|passcode|code secret|codice segreto)(?![^\W_])"
    r"(?:\s(?:for|of|für|de|di|del|van|da|do)\s(?:\w+\s){1,3}?)?"
    r"[\s:=(#\"'-]{0,4}(?:(?:still |now )?(?:is|was|ist|lautet|war|est|[ée]tait|es|era|[èeé]|to|auf|à|a|naar)[\s:=\"'(]{1,3})?"
    r"(?P<value>\d{3,8}|\d{2} \d{2}|\d(?:[ -]\d){3,5})(?![0-9A-Za-z]|[.,/-]\d)",
    re.IGNORECASE,
)
_THREE_DIGITS = re.compile(r"cvv|cvc|kartenprüf|cryptogramme|security code", re.IGNORECASE)
_TRAILING = ".,;:?)]}'\"»”“`"
_INNER_CASE = re.compile(r"[a-zà-ÿ][A-ZÀ-Þ]")
_SYMBOL = re.compile(r"[!@#$%^&*+=~|\\<>{}]")
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?:\(.*)?\Z|\w+\(")
_ENDS = re.compile(
    r"[\"'”»`)\].,;!?]*(?:\s*\Z|\s*\n|[.,;]\s|\s+(?:and|but|und|aber|et|mais|y|pero|e|ma|en|maar|mas|for|on|thanks)\b)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}\W*\Z|\w+://|www\.", re.IGNORECASE)
_OWN = re.compile(
    r"(?:my|our|meine?|unser|mon|notre|mi|nuestra|mia|mijn|ons|minha|nossa)\s+(?:\w+\s+)?\Z", re.IGNORECASE
)
# Plain words that follow "my password is" or "Password:" and say something about it instead of giving it away.
_SAYS = frozenset((
    "a", "about", "accepted", "again", "all", "already", "also", "always", "an", "and", "any", "back", "bad",
    "because", "blank", "broken", "cannot", "case", "changed", "changes", "compromised", "correct", "denied",
    "different", "disabled", "does", "done", "easy", "empty", "enabled", "entered", "error", "even",
    "exactly", "expired", "expiration", "expires", "exposed", "fails", "failed", "failing", "fine", "fixed",
    "forgot", "forgotten", "good", "gone", "hacked", "hard", "hidden", "how", "i", "identical", "in",
    "incorrect", "insecure", "invalid", "it", "known", "leaked", "long", "lost", "managed", "manager",
    "managers", "masked", "missing", "my", "needed", "never", "new", "no", "none", "not", "now", "off", "ok",
    "okay", "old", "on", "only", "optional", "out", "policy", "problem", "protected", "protection", "really",
    "refused", "rejected", "required", "reset", "resets", "right", "safe", "same", "saved", "secure", "set",
    "short", "shown", "simple", "so", "still", "stolen", "stored", "strong", "stuck", "sync", "temporary",
    "that", "the", "there", "they", "this", "to", "too", "unchanged", "unknown", "unsafe", "useless", "valid",
    "very", "visible", "weak", "what", "when", "where", "which", "why", "working", "works", "wrong", "you",
    "your", "abgelaufen", "falsch", "gehackt", "gesperrt", "gespeichert", "gestohlen", "gültig", "immer",
    "kein", "korrekt", "nicht", "nie", "noch", "richtig", "schwach", "sicher", "unbekannt", "ungültig",
    "unsicher", "vergessen", "verloren", "weg", "zu", "zurückgesetzt", "bon", "bonne", "correcte", "erroné",
    "erronée", "expiré", "expirée", "faible", "faux", "incorrecte", "invalide", "oublié", "oubliée", "pas",
    "perdu", "refusé", "refusée", "toujours", "trop", "déjà", "caducada", "caducado", "contraseña",
    "correcta", "débil", "equivocada", "errónea", "expirada", "expirado", "incorrecta", "inválida", "muy",
    "olvidada", "perdida", "rechazada", "segura", "válida", "corretta", "dimenticata", "errata", "non",
    "sbagliata", "scaduta", "sempre", "sicura", "troppo", "debole", "già", "foutief", "gereset", "juist",
    "kwijt", "niet", "ongeldig", "onjuist", "te", "veilig", "vergeten", "verkeerd", "verlopen", "zwak",
    "errada", "esquecida", "expirou", "fraca", "incorreta", "muito", "não", "perdi",
))  # fmt: skip


def _strip(value: str) -> str:
    """The value without the sentence's own punctuation; a closing "!" stays, since passwords end in it."""
    return value.rstrip(_TRAILING) or value


def _secret(value: str, *, told: bool) -> bool:
    """Does it look made up: a digit beside letters, four digits or more, a symbol inside, or capitals in the middle?

    Behind a colon or "is" (`told`) less is asked: "the password LastPass" and "password reset_page" name things.
    """
    if len(value) < 4 or _ADDRESS.match(value) or _CODE.match(value):
        return False
    digits = sum(c.isdigit() for c in value)
    letters = any(c.isalpha() for c in value)
    inner = value.strip("!?*#…")
    made_up = bool(_SYMBOL.search(inner)) or (digits > 0 and letters) or digits >= 4
    if told:
        made_up = made_up or "_" in inner or _INNER_CASE.search(inner) is not None
    return made_up and inner.lower() not in _SAYS


def _is_given(match: re.Match[str], value: str, text: str, end: int) -> bool:
    """Is what follows the word its value, and not a statement about it?"""
    told = bool(match["mark"] or match["after"] or match["copula"])
    if match["quoted"] is not None:
        return value.lower() not in _SAYS and (told or _secret(value, told=False))
    if _secret(value, told=told):
        return told or match["loose"] is None
    if match["loose"] or not (value.isalpha() or "-" in value):
        return False
    plain = len(value) >= 4 and value.lower() not in _SAYS and _ENDS.match(text, end) is not None
    assigned = (
        bool(match["mark"] and match["mark"].strip() in {":", "=", "->", "=>"}) or match["after"] is not None
    )
    copula = (match["copula"] or "").lower()
    stated = copula.split(" ")[0] in _STATES
    own = _OWN.search(text[max(0, match.start() - 24) : match.start()]) is not None
    return plain and (assigned or (stated and own))


def _forward(text: str) -> Iterator[Span]:
    for match in _FORWARD.finditer(text):
        group = "quoted" if match["quoted"] is not None else "bare"
        start = match.start(group)
        raw = match[group]
        if group == "bare":
            opened = len(raw) - len(raw.lstrip("'(["))
            raw, start = raw[opened:], start + opened
        value = _strip(raw)
        if len(value) >= 3 and FILLER not in value and _is_given(match, value, text, start + len(value)):
            yield Span("password", start, start + len(value))


def _backward(text: str) -> Iterator[Span]:
    for match in _BACKWARD.finditer(text):
        value = _strip(match["value"])
        if any(c.isdigit() for c in value) and _secret(value, told=True):
            yield Span("password", match.start("value"), match.start("value") + len(value))


def find_passwords(text: str, lowered: str) -> Iterator[Span]:
    """Passwords and PINs in a folded text; `lowered` is the same text in lower case."""
    if holds_any(lowered, _STEMS):
        yield from _forward(text)
        yield from _backward(text)
    if holds_any(lowered, ("pin", "geheimzahl", "puk", "cvv", "cvc", "code", "segreto", "nummer")):
        for match in _PIN.finditer(text):
            short = sum(c.isdigit() for c in match["value"]) < 4
            if not short or _THREE_DIGITS.match(match.group()):
                yield Span("password", *match.span("value"))
