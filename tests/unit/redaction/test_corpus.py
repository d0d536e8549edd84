"""The labelled corpus: what is found and what is taken wrongly, by kind."""

from __future__ import annotations

import pytest

from benchmarks.redaction_scores import load, ours, score, table
from voice.redaction import Redactor
from voice.redaction.kinds import KINDS, PLACEHOLDER

# Precision and recall reached are 1.000 for every kind. The floors allow one new mistake in a hundred (one or none of
# the 30 to 68 labels of a kind) for the kinds that a checksum or a sign proves, and two for those that words decide.
PROVEN = frozenset(("email", "card", "iban", "url_secret"))


@pytest.fixture(scope="module")
def texts():
    return load()


@pytest.fixture(scope="module")
def scores(texts):
    found = score(texts, ours)
    print(f"\n{len(texts)} texts, {sum(one.labels for one in found.values())} labels\n{table(found)}")
    return found


def test_every_kind_is_labelled_often_enough_to_measure(scores):
    assert {kind for kind, one in scores.items() if one.labels >= 30} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_precision_and_recall(scores, kind):
    precision, recall = (0.99, 0.99) if kind in PROVEN else (0.97, 0.97)
    assert scores[kind].precision >= precision, scores[kind].notes
    assert scores[kind].recall >= recall, scores[kind].notes


def test_a_text_without_labels_is_left_alone_to_the_letter(texts):
    redactor = Redactor()
    traps = [text.text for text in texts if not text.gold]
    assert len(traps) >= 250
    touched = [trap for trap in traps if redactor.redact(trap).text != trap]
    assert len(touched) <= len(traps) // 100, touched


def test_masking_twice_changes_nothing(texts):
    redactor = Redactor()
    for text in texts:
        once = redactor.redact(text.text)
        again = redactor.redact(once.text)
        assert (again.text, again.found) == (once.text, {})
        for kind, count in once.found.items():
            assert once.text.count(PLACEHOLDER[kind]) >= count


def test_the_score_counts_what_it_should():
    text = next(text for text in load() if len(text.gold) == 1 and text.gold[0][0] == "email")
    value = text.gold[0][1]
    start = text.text.index(value)
    end = start + len(value)

    def one(*spans):
        return score([text], lambda _: spans)

    exact = one(("email", start, end))["email"]
    assert (exact.hit, exact.wrong) == (1, 0)
    half = one(("email", start + 2, end))["email"]
    assert half.hit == 0
    wrong_kind = one(("phone", start, end))
    assert (wrong_kind["email"].hit, wrong_kind["phone"].wrong) == (0, 1)
    wide = one(("email", 0, len(text.text)))["email"]
    assert (wide.hit, wide.wrong) == (1, int(any(c.isalnum() for c in text.text[:start] + text.text[end:])))
