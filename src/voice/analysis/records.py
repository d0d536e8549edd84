"""What goes into the models and what comes out: plain values that every other package may import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Label = Literal["negative", "neutral", "positive"]
Intent = Literal["complaint", "request", "question", "praise", "other"]
Urgency = Literal["critical", "high", "medium", "low"]

LABELS: tuple[Label, ...] = ("negative", "neutral", "positive")
INTENTS: tuple[Intent, ...] = ("complaint", "request", "question", "praise", "other")
URGENCIES: tuple[Urgency, ...] = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Verbatim:
    """One text to read; `language` is what its source says of it, if anything."""

    text: str
    title: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Sentiment:
    """Label, score −1..1 (p positive − p negative), confidence 0..1 (p of the label).

    `unsure`: confidence below one half, or not English. `mixed`: clauses disagree with confidence.
    """

    label: Label
    score: float
    confidence: float
    unsure: bool
    mixed: bool


@dataclass(frozen=True, slots=True)
class TopicScore:
    """A topic that takes a text; 0.5 is the topic's own threshold, 1 the strongest."""

    topic_id: str
    score: float


@dataclass(frozen=True, slots=True)
class Aspect:
    """One clause: `quote` is `text[start:end]` of the verbatim, `score` is −1..1."""

    quote: str
    start: int
    end: int
    topic_id: str | None
    sentiment: Label
    score: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """What models say of one verbatim.

    `embedding` is a float32 unit vector, (384,) with the shipped encoder; all zeros for a text without words.
    `language` is ISO 639-1, or "und".
    """

    embedding: NDArray[np.float32]
    sentiment: Sentiment
    intent: Intent
    urgency: Urgency
    urgency_reasons: tuple[str, ...]
    topics: tuple[TopicScore, ...]
    aspects: tuple[Aspect, ...]
    language: str
