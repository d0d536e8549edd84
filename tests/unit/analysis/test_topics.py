from pathlib import Path

import numpy as np
import pytest

from voice.analysis.analyser import Analyser
from voice.analysis.topics import TopicDefinition, TopicSpace, load_taxonomy
from voice.errors import ConfigurationError

SLUGS = {
    "bugs-and-crashes", "performance", "login-and-access", "payments", "navigation", "confusing-ui", "onboarding",
    "integrations", "mobile", "notifications", "pricing", "support-experience", "documentation",
    "feature-request", "privacy-and-security", "praise",
}  # fmt: skip

# None of these is an example of the taxonomy or of models/evaluate.
SANITY = (
    ("Whenever I attach a file the program quits with an error.", "bugs-and-crashes"),
    ("Switching between tabs is painfully slow.", "performance"),
    ("My password is refused and I am shut out of my account.", "login-and-access"),
    ("Your shop debited my credit card two times.", "payments"),
    ("I keep hunting through the menu for my reports.", "navigation"),
    ("These symbols and labels are hard to understand.", "confusing-ui"),
    ("Our beginners found the setup tutorial difficult.", "onboarding"),
    ("The connection to Salesforce and the API keeps dropping.", "integrations"),
    ("On my Android phone the screen is cut off.", "mobile"),
    ("I am flooded with email notifications.", "notifications"),
    ("The monthly plan costs too much for us.", "pricing"),
    ("Customer support never answered my ticket.", "support-experience"),
    ("The user guide is missing a chapter on imports.", "documentation"),
    ("It would be great if you added a calendar view.", "feature-request"),
    ("Strangers can look at my personal data.", "privacy-and-security"),
    ("What a superb product, thanks!", "praise"),
)


def test_the_shipped_taxonomy_is_complete() -> None:
    taxonomy = load_taxonomy()
    assert {topic.id for topic in taxonomy} == SLUGS
    assert all(6 <= len(topic.examples) <= 10 and topic.description for topic in taxonomy)


def test_plain_texts_find_their_topic(analyser: Analyser, space: TopicSpace) -> None:
    examples = {example for topic in space.definitions for example in topic.examples}
    assert not examples & {text for text, _ in SANITY}
    assigned = space.assign(analyser.embed([text for text, _ in SANITY]))
    missed = [
        (text, topics)
        for (text, topic), topics in zip(SANITY, assigned, strict=True)
        if topic not in {score.topic_id for score in topics}
    ]
    assert missed == []


def test_small_talk_has_no_topic(analyser: Analyser, space: TopicSpace) -> None:
    texts = ["We are a bakery with four ovens.", "Regards, Anna", "Let us meet on Tuesday at noon."]
    assert space.assign(analyser.embed(texts)) == [(), (), ()]


def test_scores_match_the_assignment(analyser: Analyser, space: TopicSpace) -> None:
    embeddings = analyser.embed([text for text, _ in SANITY])
    scores = space.score(embeddings)
    assert scores.shape == (len(SANITY), len(SLUGS))
    assert ((scores >= 0) & (scores <= 1)).all()
    ids = [topic.id for topic in space.definitions]
    for row, topics in zip(scores, space.assign(embeddings), strict=True):
        taken = {ids[i] for i in np.flatnonzero(row >= 0.5)}
        assert {topic.topic_id for topic in topics} <= taken
        assert len(topics) == min(3, len(taken))


def test_no_words_no_topic(space: TopicSpace) -> None:
    assert space.assign(np.zeros((1, 384), np.float32)) == [()]
    assert space.assign(np.zeros((0, 384), np.float32)) == []


def test_an_edited_taxonomy_changes_the_answer(analyser: Analyser) -> None:
    parking = TopicDefinition(
        "parking",
        "Parking",
        "Parking spaces at the shop.",
        ("No parking space left.", "The car park is full."),
    )
    edited = TopicSpace([*load_taxonomy(), parking], analyser.embed)
    (topics,) = edited.assign(analyser.embed(["I could not park my car anywhere."]))
    assert topics[0].topic_id == "parking"


@pytest.mark.parametrize("topics", [[], load_taxonomy()[:1]])
def test_tiny_taxonomies_work(analyser: Analyser, topics: list[TopicDefinition]) -> None:
    space = TopicSpace(topics, analyser.embed)
    assert space.score(analyser.embed(["The app crashes at once."])).shape == (1, len(topics))


def test_a_topic_without_examples_lives_by_its_name(analyser: Analyser) -> None:
    bare = TopicDefinition("parking", "Parking cars", "", ())
    space = TopicSpace([*load_taxonomy(), bare], analyser.embed)
    (topics,) = space.assign(analyser.embed(["Parking my car takes ages."]))
    assert topics[0].topic_id == "parking"


@pytest.mark.parametrize(
    "text",
    ["- id: a", "a: b: c:", "just words", "[1, 2]",
     "- {id: a, name: A, description: d, examples: [x]}\n- {id: a, name: B, description: d, examples: [y]}"],
)  # fmt: skip
def test_malformed_taxonomies_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "taxonomy.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"taxonomy\.yaml"):
        load_taxonomy(path)
