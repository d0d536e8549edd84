"""Which language a text is written in, with care for short ones."""

from __future__ import annotations

import functools
import re
from typing import Any

UNKNOWN = "und"
ENGLISH = "en"
MAX_CHARS = 2000
# Short feedback without a telling letter is English far more often than anything else; the odds fade with length.
ENGLISH_ODDS = 20.0
FULL_ODDS_LETTERS = 8
HINT_ODDS = 20.0
MIN_PROBABILITY = 0.2

# Languages feedback comes in; the identifier's rarer ones mostly catch typing errors.
LANGUAGES = (
    *(
        "ar",
        "bg",
        "bn",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "en",
        "es",
        "et",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hr",
        "hu",
    ),
    *(
        "id",
        "it",
        "ja",
        "ko",
        "lt",
        "lv",
        "ms",
        "nl",
        "no",
        "pl",
        "pt",
        "ro",
        "ru",
        "sk",
        "sl",
        "sr",
        "sv",
        "ta",
    ),
    *("te", "th", "tl", "tr", "uk", "ur", "vi", "zh"),
)
_NOT_WORDS = re.compile(
    r"https?://\S+|www\.\S+|\S+@\S+|[@#]\w+|\[[a-z][a-z_ -]{0,30}\]|[\d_]+", re.IGNORECASE
)


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def detect(text: str, hint: str | None = None) -> str:
    """ISO 639-1 code of `text`, or "und" when it has no words or no language stands out.

    URLs, addresses and placeholders such as `[email]` are not read. `hint` is what the source says: it tips the
    balance and never overrules a clear text.
    """
    words = _NOT_WORDS.sub(" ", text[:MAX_CHARS])
    letters = sum(character.isalpha() for character in words)
    if not letters:
        return UNKNOWN
    stated = (hint or "").lower().replace("_", "-").split("-")[0]
    if stated in LANGUAGES:
        odds = {stated: HINT_ODDS}
    else:
        odds = {ENGLISH: ENGLISH_ODDS ** min(1.0, FULL_ODDS_LETTERS / letters)}
    weighed = {str(code): p * odds.get(code, 1.0) for code, p in _identifier().rank(words.lower())}
    best = max(weighed, key=weighed.__getitem__)
    return best if weighed[best] >= MIN_PROBABILITY * sum(weighed.values()) else UNKNOWN
