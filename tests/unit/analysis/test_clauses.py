import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.analysis.clauses import MAX_CLAUSES, MIN_WORDS, clauses

PIECES = st.sampled_from(
    ["the app crashes", " but ", "However, ", ". ", "! ", "; ", "\n", "?", "...", "4.2", "e.g. this", " although ",
     "it is fine now", "no", "“quoted.” ", "http://a.b/c", "[email]", "très bien merci", "好的。", "\x00", "\t"]
)  # fmt: skip


def quotes(text: str) -> list[str]:
    return [text[start:end] for start, end in clauses(text)]


@given(st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=40).map("".join)))
def test_offsets_are_ordered_exact_and_trimmed(text: str) -> None:
    found = clauses(text)
    assert len(found) <= MAX_CLAUSES
    for start, end in found:
        assert 0 <= start < end <= len(text)
        assert text[start:end] == text[start:end].strip()
        assert len(text[start:end].split()) >= 1
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I like it a lot. But it is slow.", ["I like it a lot.", "But it is slow."]),
        ("The look is nice but the search is poor", ["The look is nice", "but the search is poor"]),
        ("Setup was easy; support took ages!", ["Setup was easy;", "support took ages!"]),
        (
            "Works fine, although it is slow.",
            ["although it is slow."],
        ),
        ("Version 4.2 of file.txt is broken", ["Version 4.2 of file.txt is broken"]),
        ("First line here\nsecond line there", ["First line here", "second line there"]),
        ("He said “it is broken!” and left", ["He said “it is broken!” and left"]),
        ("Too short.", []),
        ("", []),
    ],
)
def test_where_clauses_end(text: str, expected: list[str]) -> None:
    assert quotes(text) == expected


def test_short_pieces_are_left_out() -> None:
    assert quotes("No. Not at all good. Bye.") == ["Not at all good."]
    assert MIN_WORDS == 3


def test_a_huge_text_gives_a_bounded_number() -> None:
    assert len(clauses("it is bad. " * 5_000)) == MAX_CLAUSES
