"""What masking costs a text, and what Presidio's pattern recognisers cost on the same texts in the same run.

Run: `python -m benchmarks.redaction` (needs the `test` extra, for Presidio). Nothing is fetched: Presidio runs over a
blank English pipeline, and the suffix list of its e-mail recogniser is the one that comes with `tldextract`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from unittest import mock

from benchmarks.redaction_scores import Found, load

LENGTH = 150
# What Presidio calls the kinds that both know.
SHARED = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
}
# Where Presidio reads numbers without a country code: the countries our own rules know.
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PT", "BR", "IN", "BE", "CH", "AU")

_FILLING = (
    "The new checkout is quick but the confirmation screen stays blank on my phone, so I never know if it went through. "
    "Since the update last week search results take ages and the filters I saved are gone; support answered politely. "
)


def presidio() -> Callable[[str], list[Found]]:
    """Presidio's recognisers for the shared kinds, as a function in the shape that `redaction_scores.score` reads."""
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as known
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    recognizers = [
        known.EmailRecognizer(),
        known.PhoneRecognizer(supported_regions=REGIONS),
        known.CreditCardRecognizer(),
        known.IbanRecognizer(),
        known.IpRecognizer(),
    ]
    engine = SpacyNlpEngine()
    # The tokenizer alone, in place of `load()`, which fetches a model: none of the shared kinds needs one.
    vars(engine)["nlp"] = {"en": spacy.blank("en")}
    analyzer = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=recognizers, supported_languages=["en"]),
        nlp_engine=engine,
        supported_languages=["en"],
    )
    offline = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    def find(text: str) -> list[Found]:
        with mock.patch.object(tldextract, "extract", offline):
            results = analyzer.analyze(text, language="en", entities=list(SHARED))
        return [(SHARED[result.entity_type], result.start, result.end) for result in results]

    return find


def sample(size: int) -> list[str]:
    """A mix of texts of `LENGTH` characters: half with a line of the corpus in them, half with nothing to find."""
    lines = [text.text for text in load() if len(text.text) <= LENGTH - 10 and "\n" not in text.text]
    texts = []
    for index in range(size):
        lead = f"{lines[index // 2 * 7 % len(lines)]} " if index % 2 else ""
        offset = index * 13 % (len(_FILLING) // 2)
        texts.append((lead + (_FILLING * 2)[offset:])[:LENGTH])
    return texts


def cost(find: Callable[[str], object], texts: Sequence[str], rounds: int) -> float:
    """Microseconds a text: the median over rounds, after one round to warm up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        for text in texts:
            find(text)
        times.append((time.perf_counter() - start) / len(texts) * 1e6)
    return statistics.median(times[1:])


# Pieces that, repeated, make a careless pattern backtrack.
HOSTILE = (
    "a", "a@", "a.", "a.b@", "0", "06 12 ", "+1 ", "1.", "::", "a:", "?token=", "/reset/", "password ", "password: ", "eyJ",
    "A ", "(at) ", "1 Ab ", "DE89 ", "://a:", "is ", "[email]", "-----BEGIN PRIVATE KEY-----", "%40", "\u200b1", "key=a_",
    "12 rue de ", "4111 ", "a at b dot ", "call 12345678 ", "&a_a_a", "A1", "\uff11", "call 1-", "www.", "Straße 1 ",
)  # fmt: skip


def growth(find: Callable[[str], object], piece: str, length: int) -> tuple[float, float]:
    """Seconds for `length` characters of one hostile piece, and how many times as long four times as many take."""
    times = []
    for size in (length, 4 * length):
        text = piece * (size // len(piece))
        start = time.perf_counter()
        find(text)
        times.append(time.perf_counter() - start)
    return times[0], times[1] / times[0]


def main() -> None:
    """Print the cost of both, their ratio, and how the cost of hostile texts grows with their length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--hostile", type=int, default=50_000, help="characters; four times as many are measured too"
    )
    options = parser.parse_args()
    from voice.redaction import Redactor

    redact = Redactor().redact
    texts = sample(options.texts)
    halves = {"nothing to find": texts[::2], "a line of the corpus inside": texts[1::2], "both": texts}
    theirs = presidio()
    print(
        f"{len(texts)} texts of {LENGTH} characters, median of {options.rounds} rounds, microseconds a text\n"
    )
    print("| texts | Voice, ten kinds | Presidio, five kinds | ratio |\n|---|---|---|---|")
    for name, half in halves.items():
        own, other = cost(redact, half, options.rounds), cost(theirs, half, options.rounds)
        print(f"| {name} | {own:.0f} | {other:.0f} | {other / own:.1f} |")
    print(f"\n{options.hostile} characters of a repeated piece, and four times as many\n")
    print("| piece | milliseconds | times as long for 4x |\n|---|---|---|")
    for piece in HOSTILE:
        seconds, factor = growth(redact, piece, options.hostile)
        print(f"| `{piece!r}` | {seconds * 1e3:.0f} | {factor:.1f} |")


if __name__ == "__main__":
    main()
