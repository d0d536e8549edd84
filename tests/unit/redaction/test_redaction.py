"""What is masked, what stays, and what holds for every text."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.redaction import HOSTILE
from voice.redaction import VERSION, Redacted, Redactor
from voice.redaction.folding import fold
from voice.redaction.kinds import KINDS, PLACEHOLDER

ZERO_WIDTH = "\u200b"


@pytest.fixture(scope="module")
def redactor():
    return Redactor()


def masked(text: str) -> str:
    return Redactor().redact(text).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail john.doe+news@mail.example.co.uk.", "mail [email]."),
        ("write to (o'neil@example.ie), please", "write to ([email]), please"),
        ("bob (at) example (dot) com", "[email]"),
        ("jane.d at gmail.com", "[email]"),
        ("联系bob@example.com谢谢", "联系[email]谢谢"),
        ("müller@bücher.example", "[email]"),
        ("call +44 (0)20 7946 0958 today", "call [phone] today"),
        ("ring 020 7946 0958, ext. 12", "ring [phone]"),
        ("06 12 34 56 78 06 98 76 54 32", "[phone] [phone]"),
        ("my cell is (212) 555-0147", "my cell is [phone]"),
        ("WhatsApp 4915123456789", "WhatsApp [phone]"),
        ("4111 1111 1111 1111 12/29", "[card] 12/29"),
        ("cards 4111111111111111 and 5555-5555-5555-4444", "cards [card] and [card]"),
        ("4111 1111 1111 1111 5555 5555 5555 4444", "[card] [card]"),
        ("amex 3782 822463 10005", "amex [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 is mine", "IBAN [iban] is mine"),
        ("nl91abna0417164300", "[iban]"),
        ("from 203.0.113.7:443 and 2001:db8::8a2e:370:7334.", "from [ip]:443 and [ip]."),
        ("SSN 078-05-1120", "SSN [national_id]"),
        ("DNI 12345678Z, NIE X1234567L", "DNI [national_id], NIE [national_id]"),
        ("BSN 111222333", "BSN [national_id]"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: Bearer [token]"),
        ("my api key is 9f8a7b6c5d4e3f2a1b0c9d8e", "my api key is [token]"),
        ("my password is Hunter2!", "my password is [password]"),
        ("Passwort: sonnenschein", "Passwort: [password]"),
        ("mot de passe : Azerty123, merci", "mot de passe : [password], merci"),
        ("Winter2024 is my password", "[password] is my password"),
        ("PIN 4821, CVV 123", "PIN [password], CVV [password]"),
        ('{"password": "two words"}', '{"password": "[password]"}'),
        ("I live at 12 Main Street, Springfield, IL 62704.", "I live at [address]."),
        ("wohne Hauptstraße 12a, 10115 Berlin", "wohne [address]"),
        ("12 bis rue de la Paix, 75002 Paris", "[address]"),
        ("Calle Mayor 12, 28013 Madrid", "[address]"),
        ("abito in via Roma 12", "abito in [address]"),
        ("Keizersgracht 12, 1015 CN Amsterdam", "[address]"),
    ],
)
def test_is_masked(redactor, text, expected):
    assert redactor.redact(text).text == expected


@pytest.mark.parametrize(
    "text",
    [
        "order 112-1234567-1234567 and order number 4111111111111111",
        "version 10.0.19041.1234, Chrome/120.0.6099.109, snappy 1.1.8.1",
        "2024-05-05T10:30:00.123Z ERROR at 05/05/2024 10:30, on 01-02-2024 12:30, image-2022-04-12-16-14-37-105.png",
        "costs 1,234,567.89 EUR or 1 234 567,89 €, 12345678 users",
        "550e8400-e29b-41d4-a716-446655440000 3f2c9a1b4d5e6f708192a3b4c5d6e7f8091a2b3c",
        "ISBN 978-3-16-148410-0, CVE-2015-5237, ticket INC-0612345678",
        "tracking 1Z999AA10123456784 or 9400 1118 9922 3197 4567 89",
        "I forgot my password and the password reset fails; password: required; my password is not working",
        "PIN entry is broken, pin 3 tabs, token expired after 3600 seconds",
        "via Chrome 120, 2 Google Drive folders, 10 blocks down the road, Speicherplatz 5 GB, Spring 2024",
        "git@github.com:acme/app.git lodash@4.17.21 icon@2x.png @handle",
        "std::vector, a::b, 127.0.0.1, 255.255.255.0, 12:30:45",
        "it failed at this point in the flow; java.io.IOException at org.apache.hadoop.fs",
        "https://example.com/orders/0612345678901?page=2&code=SUMMER20&sort=price#top",
        "IBAN DE89 3704 0044 0532 0130 01 has a wrong check digit, and so has 4111 1111 1111 1112",
    ],
)
def test_stays(redactor, text):
    assert redactor.redact(text) == Redacted(text, {})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("john@example.com", "email"),
        ("4111 1111 1111 1111", "card"),
        ("+44 20 7946 0958", "phone"),
        ("DE89370400440532013000", "iban"),
        ("203.0.113.7", "ip"),
    ],
)
def test_disguises_do_not_help(redactor, value, kind):
    hidden = ZERO_WIDTH.join(value)
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value)
    for text in (hidden, wide, value.replace(" ", "\xa0").replace("-", "\u2011")):
        assert redactor.redact(f"see {text} !").text == f"see [{kind}] !"


def test_arabic_indic_digits_are_digits(redactor):
    card = "4111111111111111".translate({ord("0") + n: chr(0x660 + n) for n in range(10)})
    assert redactor.redact(card).text == "[card]"


def test_counts_never_values(redactor):
    result = redactor.redact("a@example.com, b@example.com and 203.0.113.7")
    assert result.found == {"email": 2, "ip": 1}
    assert "example.com" not in repr(result)
    assert VERSION == "redact-1"


def test_the_more_certain_kind_wins_where_two_overlap(redactor):
    assert redactor.redact("https://x.example/?token=a.b@example.com").found == {"url_secret": 1}
    assert redactor.redact("GB82 WEST 1234 5698 7654 32").found == {"iban": 1}
    assert redactor.redact("password: 078-05-1120").found == {"password": 1}


def test_region_reads_numbers_without_a_country_code():
    text = "914 872 104"
    assert Redactor().redact(text).text == text
    assert Redactor().redact(text, region="es").text == "[phone]"
    assert Redactor().redact(text, region="no such region").text == text


def test_allowed_names_stay_and_hide_nothing_else():
    redactor = Redactor(allow=["support@acme.example", "Route 4111 1111 1111 1111", " "])
    assert (
        redactor.redact("Support@ACME.example or me@acme.example").text == "Support@ACME.example or [email]"
    )
    assert redactor.redact("route 4111 1111 1111 1111").found == {}
    assert redactor.redact("4111 1111 1111 1111").found == {"card": 1}
    assert Redactor(allow=["acme"]).redact("bob@acme.example").text == "[email]"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://bob:hunter2@example.com/x", "https://[url_secret]@example.com/x"),
        ("https://example.com/r?a=1&reset_token=abc&b=2", "https://example.com/r?a=1&reset_token=[url_secret]&b=2"),
        ("https://example.com/cb#access_token=abc.def&state=1", "https://example.com/cb#access_token=[url_secret]&state=1"),
        ("/reset-password/9f8a7b6c5d4e3f2a?lang=de", "/reset-password/[url_secret]?lang=de"),
        ("/go?next=https%3A%2F%2Fx.example%2F%3Ftoken%3Dabc%26p%3D1", "/go?next=https%3A%2F%2Fx.example%2F%3Ftoken%3D[url_secret]%26p%3D1"),
        ("https://example.com/u?email=bob%40example.com&id=4", "https://example.com/u?email=[email]&id=4"),
        ("/call?phone=%2B442079460958", "/call?phone=[phone]"),
        ("https://example.com/help/reset-password", "https://example.com/help/reset-password"),
        ("https://example.com/items/0612345678?v=10.0.19041.1234", "https://example.com/items/0612345678?v=10.0.19041.1234"),
    ],
)  # fmt: skip
def test_links(redactor, url, expected):
    assert redactor.redact_url(url).text == expected
    assert redactor.redact_url(expected) == Redacted(expected, {})


def test_json_values_are_read_with_their_keys(redactor):
    value, found = redactor.redact_value(
        {
            "userPassword": "plain",
            "ssn": "078051120",
            "phone": 4915123456789,
            "order_id": "4111111111111111",
            "tags": ["bob@example.com", "slow", 3, None, True],
            "a@example.com": 1,
            "b@example.com": {"token_count": 5, "access_token": "x"},
        }
    )
    assert value == {
        "userPassword": "[password]",
        "ssn": "[national_id]",
        "phone": "[phone]",
        "order_id": "4111111111111111",
        "tags": ["[email]", "slow", 3, None, True],
        "[email]": 1,
        "[email] 2": {"token_count": 5, "access_token": "[token]"},
    }
    assert found == {"password": 1, "national_id": 1, "phone": 1, "email": 3, "token": 1}
    assert redactor.redact_value(value) == (value, {})


def test_json_values_nested_too_deep_become_null(redactor):
    deep: list[object] = ["a@example.com"]
    for _ in range(5000):
        deep = [deep]
    value, found = redactor.redact_value(deep)
    assert "example" not in repr(value)
    assert "None" in repr(value)
    assert found == {}


PIECES = (
    *HOSTILE, *PLACEHOLDER.values(), "a@example.com", "4111 1111 1111 1111", "+44 20 7946 0958", "0171 2345678",
    "202-555-0143", "078-05-1120", "DE89370400440532013000", "203.0.113.7", "password", "is", "token", "Hunter2!",
    "9f8a7b6c5d4e3f2a1b0c", "https://", "?key=", "12 Main Street", "call", "order", " ", "-", ".", ",", "\n", ":", "/", "=",
    "@", "(", ")", '"', "1", "06", ZERO_WIDTH, "\x00", "\x01", "%40",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(st.characters()), st.lists(st.sampled_from(PIECES), max_size=24).map("".join)))
def test_every_text_is_masked_once_and_for_all(text):
    redactor = Redactor()
    once = redactor.redact(text)
    assert redactor.redact(once.text) == Redacted(once.text, {})
    spans = redactor.find(text)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert sum(once.found.values()) == len(spans)
    link = redactor.redact_url(text)
    assert redactor.redact_url(link.text) == Redacted(link.text, {})


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(categories=["Lu", "Ll", "Lo", "Zs", "So"], exclude_characters="：@"), max_size=200)
)
def test_a_text_of_words_stays_as_it_is(text):
    assert masked(text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(PIECES) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PIECES) | st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_json_values_are_masked_once_and_for_all(value):
    redactor = Redactor()
    once, _ = redactor.redact_value(value)
    assert redactor.redact_value(once) == (once, {})
    if isinstance(value, dict):
        assert len(once) == len(value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_texts_end(redactor, piece):
    text = piece * (200_000 // len(piece))
    once = redactor.redact(text)
    assert redactor.redact(once.text) == Redacted(once.text, {})


@given(st.text(st.sampled_from("a1@\u200b\uff11%40[email] ")))
def test_folding_keeps_the_way_back(text):
    folded = fold(text)
    ranges = [folded.origin(index, index + 1) for index in range(len(folded.text))]
    assert all(start < end for start, end in ranges)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    for (start, end), character in zip(ranges, folded.text, strict=True):
        if character.isalpha():
            assert text[start:end].startswith(character)


def test_the_costly_libraries_load_at_first_need_only():
    code = (
        "import sys, voice.redaction as r; f = lambda: {'schwifty', 'phonenumbers'} & set(sys.modules); assert not f();"
        "r.Redactor().redact('nothing here but words and 3 numbers'); assert not f(), f()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_kind_has_a_placeholder_of_its_own():
    assert [PLACEHOLDER[kind] for kind in KINDS] == [f"[{kind}]" for kind in KINDS]
    assert all(masked(placeholder) == placeholder for placeholder in PLACEHOLDER.values())
