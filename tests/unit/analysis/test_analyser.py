import numpy as np
import pytest

from voice.analysis.analyser import Analyser
from voice.analysis.records import INTENTS, LABELS, URGENCIES, Analysis, Verbatim
from voice.analysis.topics import TopicSpace

TEXTS = (
    "The export has been failing since Monday and I am fed up with it.",
    "Wonderful release, everybody here is delighted.",
    "Which plan do I need for ten people?",
    "Please let us pin conversations.",
    "The new calendar is beautiful, but the sync with my phone is terrible and never works.",
    "We have two offices.",
)
LABELLED = ("negative", "positive", "neutral", "neutral")


def read(analyser: Analyser, space: TopicSpace, *texts: str) -> list[Analysis]:
    return analyser.read([Verbatim(text) for text in texts], space)


def same(one: Analysis, other: Analysis) -> bool:
    fields = ("sentiment", "intent", "urgency", "urgency_reasons", "topics", "aspects", "language")
    return bool(np.array_equal(one.embedding, other.embedding)) and all(
        getattr(one, field) == getattr(other, field) for field in fields
    )


def test_every_field_keeps_its_contract(analyser: Analyser, space: TopicSpace) -> None:
    known = {topic.id for topic in space.definitions}
    for text, found in zip(TEXTS, read(analyser, space, *TEXTS), strict=True):
        assert found.embedding.shape == (384,)
        assert found.embedding.dtype == np.float32
        assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)
        assert found.sentiment.label in LABELS
        assert -1 <= found.sentiment.score <= 1
        assert 1 / 3 <= found.sentiment.confidence <= 1
        assert found.sentiment.unsure is (found.sentiment.confidence < 0.5)
        assert found.intent in INTENTS
        assert found.urgency in URGENCIES
        assert len(found.topics) <= 3
        assert all(topic.topic_id in known and 0.5 <= topic.score <= 1 for topic in found.topics)
        assert [t.score for t in found.topics] == sorted((t.score for t in found.topics), reverse=True)
        assert found.language == "en"
        for aspect in found.aspects:
            assert text[aspect.start : aspect.end] == aspect.quote
            assert aspect.topic_id is None or aspect.topic_id in known
            assert -1 <= aspect.score <= 1


def test_plain_texts_are_read_as_a_person_would(analyser: Analyser, space: TopicSpace) -> None:
    found = read(analyser, space, *TEXTS)
    assert tuple(result.sentiment.label for result in found[:4]) == LABELLED
    assert [result.intent for result in found[:4]] == ["complaint", "praise", "question", "request"]


def test_reading_twice_gives_the_same(analyser: Analyser, space: TopicSpace) -> None:
    first, second = read(analyser, space, *TEXTS), read(analyser, space, *TEXTS)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_a_batch_says_what_single_texts_say(analyser: Analyser, space: TopicSpace) -> None:
    batch = read(analyser, space, *TEXTS)
    for text, together in zip(TEXTS, batch, strict=True):
        (alone,) = read(analyser, space, text)
        assert float(together.embedding @ alone.embedding) > 0.9999
        assert together.sentiment.label == alone.sentiment.label
        assert together.intent == alone.intent
        assert together.sentiment.score == pytest.approx(alone.sentiment.score, abs=0.01)


def test_repeated_texts_get_equal_results(analyser: Analyser, space: TopicSpace) -> None:
    found = read(analyser, space, TEXTS[0], TEXTS[1], TEXTS[0])
    assert same(found[0], found[2])
    assert not same(found[0], found[1])


def test_nothing_to_read(analyser: Analyser, space: TopicSpace) -> None:
    assert read(analyser, space) == []
    assert analyser.embed([]).shape == (0, 384)


def test_opposed_clauses_are_mixed(analyser: Analyser, space: TopicSpace) -> None:
    mixed, plain = read(analyser, space, TEXTS[4], TEXTS[0])
    assert mixed.sentiment.mixed
    assert [aspect.sentiment for aspect in mixed.aspects] == ["positive", "negative"]
    assert not plain.sentiment.mixed


def test_one_clause_is_its_own_aspect(analyser: Analyser, space: TopicSpace) -> None:
    (found,) = read(analyser, space, "Paying by card fails every time.")
    (aspect,) = found.aspects
    assert aspect.quote == "Paying by card fails every time."
    assert aspect.sentiment == found.sentiment.label
    assert aspect.topic_id == found.topics[0].topic_id


def test_the_title_is_read_and_not_quoted(analyser: Analyser, space: TopicSpace) -> None:
    body = "It happens on both of my machines."
    bare, titled = analyser.read(
        [Verbatim(body), Verbatim(body, title="Crashes when I open a report")], space
    )
    assert titled.sentiment.label == "negative"
    assert titled.sentiment.score < bare.sentiment.score
    assert "bugs-and-crashes" in {topic.topic_id for topic in titled.topics}
    assert all(aspect.quote in body for aspect in titled.aspects)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "\n\n", "👍👍👍", "?!?!", "...", "[email] [phone]", "\x00\x01", "\ud800", "\u200b\u200d"],
)
def test_texts_without_words_are_neutral_and_say_nothing(
    analyser: Analyser, space: TopicSpace, text: str
) -> None:
    (found,) = read(analyser, space, text)
    assert (found.sentiment.label, found.sentiment.score, found.sentiment.confidence) == ("neutral", 0, 0)
    assert found.sentiment.unsure
    assert (found.intent, found.urgency, found.topics, found.aspects) == ("other", "low", (), ())
    assert found.language == "und"
    assert not found.embedding.any()


@pytest.mark.parametrize(
    "text",
    [
        "bad\x00\x07 app\ud83d crashes \x1b[31mevery day",
        "a" * 10_000,
        "it crashes! " * 830,
        "漢字" * 5_000,
        "(((((" * 2_000 + " broken",
        "charged " * 1_250,
        "A\u0301" * 3_000,
        "\u202eesrever ni nettirw si siht",
        "Robert'); DROP TABLE feedback;-- it does not work",
    ],
)
def test_hostile_texts_are_read_without_harm(analyser: Analyser, space: TopicSpace, text: str) -> None:
    (found,) = read(analyser, space, text)
    assert np.isfinite(found.embedding).all()
    assert found.sentiment.label in LABELS
    assert all(text[a.start : a.end] == a.quote for a in found.aspects)


def test_placeholders_do_not_change_what_is_said(analyser: Analyser, space: TopicSpace) -> None:
    plain, masked = read(
        analyser,
        space,
        "I wrote to you and nobody answered, very poor service.",
        "I wrote to [email] and nobody answered, very poor service.",
    )
    assert plain.sentiment.label == masked.sentiment.label == "negative"
    assert masked.language == "en"
    assert abs(plain.sentiment.score - masked.sentiment.score) < 0.3


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Anmeldung funktioniert seit gestern nicht mehr.", "de"),
        ("Depuis la mise à jour je ne peux plus payer.", "fr"),
        ("No puedo entrar en mi cuenta desde ayer.", "es"),
    ],
)
def test_other_languages_are_always_unsure(
    analyser: Analyser, space: TopicSpace, text: str, language: str
) -> None:
    (found,) = read(analyser, space, text)
    assert found.language == language
    assert found.sentiment.unsure


def test_the_version_names_every_part(analyser: Analyser) -> None:
    assert analyser.version == "voice-mini-1+topics-1+urgency-1"
    assert analyser.encoder_name == "voice-mini-1"
