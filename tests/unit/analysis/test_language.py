import pytest

from voice.analysis.language import detect


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The new release is much slower than before.", "en"),
        ("slow", "en"),
        ("Crashes a lot", "en"),
        ("Export broken", "en"),
        ("Seit gestern geht gar nichts mehr", "de"),
        ("Je ne trouve plus mes factures", "fr"),
        ("No encuentro mis facturas", "es"),
        ("Non trovo più le mie fatture", "it"),
        ("Não encontro as minhas faturas", "pt"),
        ("Ik kan mijn facturen niet vinden", "nl"),
        ("Приложение не открывается после обновления", "ru"),
        ("无法登录我的账户", "zh"),
        ("ログインできません", "ja"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize(
    "text", ["", "  ", "👍", "1234", "https://example.org/fr/bonjour", "[email]", "?!", "@user"]
)
def test_no_words_no_language(text: str) -> None:
    assert detect(text) == "und"


def test_addresses_and_placeholders_are_not_read() -> None:
    bare = detect("Ik kan niet betalen")
    assert (
        detect("Ik kan niet betalen [credit card] https://example.org/the/english/page jo@example.org")
        == bare
        == "nl"
    )


def test_a_hint_tips_the_balance_and_no_more() -> None:
    assert detect("super", "de") == "de"
    assert detect("Export broken", "de-DE") in {"de", "en"}
    assert detect("The new release is much slower than before.", "de") == "en"
    assert detect("The new release is slow", "tlh") == "en"


def test_hostile_text_has_an_answer() -> None:
    assert detect("x" * 10_000) in {"und", "en"}
    assert isinstance(detect("a\u0301\ud800\x00 b" * 500), str)
