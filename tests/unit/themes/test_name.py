"""Names with a bag-of-words stand-in for the encoder: contrast, uniqueness, case, what must never appear."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice.themes.name import MAX_PHRASES, UNNAMED, name_themes
from voice.themes.vectors import Vectors, normalise
from voice.themes.words import comparable, segments

SMS = [
    "The SMS reminder arrived two hours late again",
    "My clients say the SMS reminder never comes",
    "sms reminder sent twice to the same client",
    "An SMS reminder at midnight woke my client up",
    "No SMS reminder since the update, clients forget",
]
CALENDAR = [
    "Bookings do not reach Google Calendar any more",
    "The Google Calendar sync puts bookings one hour off",
    "google calendar shows every booking twice",
    "Please fix Google Calendar, my bookings are missing",
    "After the update Google Calendar stopped getting bookings",
]
PRICE = [
    "The monthly price went up again without a word",
    "Paying per seat is too expensive for a small studio",
    "A monthly price per seat kills small studios",
    "Your monthly price doubled, other tools are cheaper",
    "Why is the monthly price higher than last year?",
]


def embed(texts: Sequence[str]) -> Vectors:
    """Sums of fixed random directions, one a word."""
    rows = np.zeros((len(texts), 64))
    for row, text in enumerate(texts):
        for word in text.casefold().split():
            seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=4).digest())
            rows[row] += np.random.default_rng(seed).normal(size=64)
    return normalise(rows)


def titles(*groups: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    return [name.title for name in name_themes(groups, [embed(g) for g in groups], embed=embed, taken=taken)]


def test_a_theme_is_named_by_the_phrase_that_sets_it_apart() -> None:
    names = name_themes([SMS, CALENDAR, PRICE], [embed(g) for g in (SMS, CALENDAR, PRICE)], embed=embed)
    assert [name.title for name in names] == ["SMS reminder", "Google Calendar", "Monthly price"]
    assert all(3 <= len(name.keywords) <= 6 for name in names)
    assert "reminder" in names[0].keywords
    assert "Google" in names[1].keywords
    assert all(0 < name.score <= 1 for name in names)


def test_words_that_every_theme_uses_do_not_name_one() -> None:
    groups = [[f"{text} in the Marlow app" for text in group] for group in (SMS, CALENDAR, PRICE)]
    assert not any("marlow" in title.casefold() for title in titles(*groups))


def test_two_themes_never_share_a_name_and_names_in_use_are_left_alone() -> None:
    twins = titles(SMS, SMS, SMS, taken=["sms REMINDERS"])
    assert len({comparable(title) for title in twins} | {comparable("sms reminders")}) == 4


def test_a_name_begins_and_ends_on_a_word_of_substance() -> None:
    texts = [
        "I am charged for the refund of a booking",
        "we are charged for the refund again",
        "got charged for the refund",
    ]
    assert titles(texts * 2, PRICE)[0] == "Charged for the refund"


def test_addresses_and_placeholders_never_appear() -> None:
    texts = [
        f"Write [email] about https://acme.example/x?u={i} or bob{i}@acme.example, refund form [phone number] broken"
        for i in range(8)
    ]
    [name] = name_themes([texts], [embed(texts)], embed=embed)
    shown = " ".join([name.title, *name.keywords]).casefold()
    assert not any(word in shown for word in ("email", "http", "acme", "bob", "phone", "[", "@"))
    assert "refund form" in shown


def test_a_shouted_text_does_not_shout_in_the_name() -> None:
    shouted = [*SMS[:2], *(text.upper() for text in SMS[2:])]
    assert titles(shouted, CALENDAR)[0] == "SMS reminder"
    assert titles([text.upper() for text in CALENDAR], SMS)[0].isupper() is False


def test_copies_count_once_towards_a_name() -> None:
    copies = ["Bring back the purple button now"] * 50
    assert titles([*SMS, *copies], CALENDAR)[0] == "SMS reminder"


def test_rude_words_are_not_passed_on() -> None:
    texts = [f"fucking invoice screen crashes {word}" for word in ("daily", "hourly", "weekly", "nightly")]
    [name] = name_themes([texts], [embed(texts)], embed=embed)
    assert "fuck" not in " ".join([name.title, *name.keywords]).casefold()
    assert name.title.startswith("Invoice screen")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["Dark mode please"], "Dark mode please"),
        (["Invoices", "invoices!!", "My invoices?"], "Invoices"),
        (["🙏🙏", "[email]", "12345"], UNNAMED),
        (["アプリが落ちる。", "起動しない"], None),
        (
            [
                "Die App stürzt beim Öffnen ab",
                "App stürzt beim Öffnen ständig ab",
                "Absturz beim Öffnen der App",
            ],
            None,
        ),
        (["हिन्दी में ऐप बंद हो जाता है", "ऐप बंद हो जाता है", "मेरा ऐप बंद हो जाता है"], None),
    ],
)
def test_tiny_groups_and_other_languages_get_a_name(texts: list[str], expected: str | None) -> None:
    [title] = titles(texts)
    assert title
    assert expected is None or title == expected
    shown = {word.casefold() for run in segments(title) for word in run}
    said = {word.casefold() for text in texts for run in segments(text) for word in run}
    assert title == UNNAMED or shown <= said


def test_phrases_are_embedded_in_one_call_with_a_bound_per_theme() -> None:
    rng = np.random.default_rng(0)
    words = [
        f"{a}{b}" for a in ("ka", "lo", "mi", "ne", "pu", "ra") for b in ("bat", "dor", "gim", "lup", "sev")
    ]
    groups = [[" ".join(rng.choice(words, 30)) for _ in range(120)] for _ in range(3)]
    calls: list[int] = []

    def counting(texts: Sequence[str]) -> Vectors:
        calls.append(len(texts))
        return embed(texts)

    name_themes(groups, [embed(g) for g in groups], embed=counting)
    assert len(calls) == 1
    assert 0 < calls[0] <= 3 * MAX_PHRASES


@pytest.mark.timeout(20)
def test_hostile_texts_do_not_hang_a_pattern() -> None:
    nasty = [
        "a" * 10_000,
        "@" * 10_000,
        "[" * 10_000,
        "\x00" * 50,
        "a-" * 5_000,
        "x@" * 5_000,
        "' " * 5_000,
        "http://" * 900,
    ]
    [title] = titles(nasty)
    assert title
    assert len(title) <= 60


@given(
    st.lists(st.lists(st.text(min_size=0, max_size=60), min_size=1, max_size=6), min_size=1, max_size=5),
    st.lists(st.text(max_size=12), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_any_texts_get_distinct_names(groups: list[list[str]], taken: list[str]) -> None:
    names = titles(*groups, taken=taken)
    assert all(names)
    kept = {title.casefold() for title in names}
    assert len(kept) == len(names)
    assert not kept & {title.casefold() for title in taken if comparable(title)}
    assert names == titles(*groups, taken=taken)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="vectors"):
        name_themes([SMS], [embed(SMS[:2])], embed=embed)
    with pytest.raises(ValueError, match="vectors"):
        name_themes([[]], [embed([])], embed=embed)
