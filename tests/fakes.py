"""Stand-ins for the models: small, deterministic, and able to fail on purpose."""

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from voice.analysis.analyser import Analyser
from voice.analysis.records import (
    INTENTS,
    LABELS,
    URGENCIES,
    Analysis,
    Aspect,
    Sentiment,
    TopicScore,
    Verbatim,
)
from voice.analysis.topics import TopicSpace

POISON = "poison"
DIMENSIONS = 64


class FakeAnalyser(Analyser):
    """Answers that are a function of the text and of `salt`: another salt is another model.

    Texts that share words lie close to each other. A text with the word `poison` makes the whole batch fail.
    """

    def __init__(self, *, salt: int = 0, name: str = "fake") -> None:
        self.encoder_name = name
        self.salt = salt
        self.calls: list[list[str]] = []

    @property
    def version(self) -> str:  # type: ignore[override]
        return f"{self.encoder_name}-{self.salt}"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [sum((word_vector(word) for word in _words(text)), np.zeros(DIMENSIONS)) for text in texts]
        matrix = np.array(rows, dtype=np.float32).reshape(len(rows), DIMENSIONS)
        return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)

    def read(self, verbatims: Sequence[Verbatim], topics: TopicSpace) -> list[Analysis]:
        texts = [verbatim.text for verbatim in verbatims]
        self.calls.append(texts)
        if any(POISON in text for text in texts):
            raise ValueError(f"cannot read: {' '.join(texts)}")
        vectors = self.embed(texts)
        ids = [topic.id for topic in topics.definitions]
        return [self._one(text, vector, ids) for text, vector in zip(texts, vectors, strict=True)]

    def _one(self, text: str, vector: NDArray[np.float32], topics: Sequence[str]) -> Analysis:
        dice = random.Random(f"{self.salt} {text}")
        label = next((name for name in LABELS if name in text), dice.choice(LABELS))
        score = {"negative": -1, "neutral": 0, "positive": 1}[label] * dice.uniform(0.1, 1)
        chosen = dice.sample(topics, min(len(topics), dice.randrange(4)))
        return Analysis(
            embedding=vector,
            sentiment=Sentiment(label, score, dice.uniform(0.34, 1), unsure=False, mixed=False),
            intent=dice.choice(INTENTS),
            urgency=dice.choice(URGENCIES),
            urgency_reasons=("said so",),
            topics=tuple(TopicScore(topic, dice.uniform(0.5, 1)) for topic in chosen),
            aspects=(Aspect(text, 0, len(text), None, label, score),),
            language=dice.choice(("en", "de", "und")),
        )


def _words(text: str) -> list[str]:
    return [word.strip(".,!?").casefold() for word in text.split()]


@cache
def word_vector(word: str) -> NDArray[np.float64]:
    """A direction of the word's own, (64,)."""
    return np.random.default_rng(list(word.encode()) or [0]).standard_normal(DIMENSIONS)
