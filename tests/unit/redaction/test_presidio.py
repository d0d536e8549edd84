"""Presidio's pattern recognisers over the same corpus: we find at least what they find."""

from __future__ import annotations

import socket

import pytest

from benchmarks.redaction import SHARED, presidio
from benchmarks.redaction_scores import load, ours, score

# spaCy and Presidio take several seconds to import.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def both():
    texts = load()
    theirs = score(texts, presidio())
    mine = score(texts, ours)
    print(
        "\n| kind | labels | recall | precision | Presidio's recall | its precision |\n|---|---|---|---|---|---|"
    )
    for kind in SHARED.values():
        own, other = mine[kind], theirs[kind]
        print(
            f"| {kind} | {own.labels} | {own.recall:.3f} | {own.precision:.3f} | {other.recall:.3f} |"
            f" {other.precision:.3f} |"
        )
    return mine, theirs


@pytest.mark.parametrize("kind", SHARED.values())
def test_recall_is_not_below_presidio(both, kind):
    mine, theirs = both
    assert theirs[kind].hit > theirs[kind].labels // 3, "the second opinion itself does not work"
    assert mine[kind].recall >= theirs[kind].recall


def test_presidio_fetches_nothing(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert presidio()("write to someone@example.com") == [("email", 9, 28)]
