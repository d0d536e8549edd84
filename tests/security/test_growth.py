"""Hostile texts cost what their length costs: eight times the text takes about eight times the work, never its square.

No time is asserted, only how it grows: CPU time of this thread, the least of several runs.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from voice.clock import utc_now
from voice.feedback.submission import parse_line
from voice.redaction import Redactor
from voice.search.tabular import neutralised

SHORT, LONG = 1_250, 10_000
MOST = 24
"""Linear is 8, quadratic 64; between them lies the noise of a busy machine."""

UNITS = (
    *(
        "a",
        "1",
        " ",
        "@",
        ".",
        "a@",
        "a.",
        "a@a.",
        "1-",
        "1 ",
        "(1",
        "+1",
        "00",
        "::",
        "f:",
        "0x",
        "é",
        "１",
        "🎉",
    ),
    *(
        "://",
        "http://",
        "https://a",
        "?a=",
        "&a=",
        "%40",
        "a=b&",
        "token=",
        "key=",
        "Bearer ",
        "eyJ.",
        "sk_live_",
    ),
    *("password ", "password is ", "-----BEGIN ", "A1", "DE89", "1.1.", "1/1/", "4111 ", "4111111111111111 "),
    *(
        "+49 30 ",
        "tel ",
        "ssn ",
        "iban ",
        "12 Main Street ",
        "my name is ",
        " at ",
        " dot ",
        "(at)",
        "\u200b",
        "\n",
    ),
    *("'", '"', "<", "=", ";=", "\t", "a" * 64 + "@" + "a" * 60 + "."),
)


def growth(act: Callable[[str], object], make: Callable[[int], str]) -> float:
    """How many times the work of a short text a long one takes."""
    return _least(act, make(LONG)) / max(_least(act, make(SHORT)), 20e-6)


def _least(act: Callable[[str], object], text: str) -> float:
    def once() -> float:
        started = time.thread_time()
        act(text)
        return time.thread_time() - started

    return min(once() for _ in range(5))


def repeated(units: Sequence[str]) -> Callable[[int], str]:
    return lambda n: ("".join(units) * n)[:n]


def blocks(units: Sequence[str]) -> Callable[[int], str]:
    return lambda n: "".join((unit * n)[: n // len(units)] for unit in units)


def test_what_is_quadratic_is_noticed() -> None:
    assert growth(re.compile(r"\s+$").search, lambda n: " " * n + "x") > MOST


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: repr(unit[:20]))
def test_redaction_of_one_thing_for_ever(unit: str) -> None:
    assert growth(Redactor().redact, repeated([unit])) < MOST


def test_redaction_of_one_thing_after_another() -> None:
    redact = Redactor().redact
    for units in pairwise(UNITS[::3] + UNITS[1::3] + UNITS[2::3]):
        assert growth(redact, blocks(units)) < MOST, units
        assert growth(redact, repeated(units)) < MOST, units


@pytest.mark.parametrize("unit", ["a@a.de ", "password is x ", "4111111111111111 ", "\u200b"], ids=repr)
def test_redaction_of_metadata(unit: str) -> None:
    def nested(text: str) -> object:
        return Redactor().redact_value({str(n): [text[n : n + 50]] for n in range(0, len(text), 50)})

    assert growth(nested, repeated([unit])) < MOST


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: repr(unit[:20]))
def test_cells_of_exports(unit: str) -> None:
    assert growth(neutralised, repeated([unit])) < MOST
    assert growth(neutralised, lambda n: (unit * n)[: n - 1] + "=") < MOST


@pytest.mark.parametrize("field", ["text", "language", "source", "url", "created_at", "title"])
def test_validation(field: str) -> None:
    def parse(text: str) -> object:
        return parse_line(json.dumps({"text": "x", field: text}), now=utc_now())

    for unit in ("a", "a-", "1", "2026-01-01T00:00:00", ".", " "):
        assert growth(parse, repeated([unit])) < MOST, unit
