"""Everything the models say of a batch of verbatims, from one pass of one encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from voice.analysis import topics as topic_geometry
from voice.analysis import urgency
from voice.analysis.clauses import clauses
from voice.analysis.encoder import Encoded, Encoder
from voice.analysis.language import ENGLISH, detect
from voice.analysis.records import INTENTS, LABELS, Analysis, Aspect, Sentiment, TopicScore, Verbatim

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from voice.analysis.topics import TopicSpace

UNSURE_BELOW = 0.5
MIXED_FROM = 0.6
MAX_CHARS = 10_000

# Control characters and lone surrogates become spaces one for one, so that offsets stay true.
_UNREADABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"\[[a-z][a-z_ -]{0,30}\]", re.IGNORECASE)


class Analyser:
    """Reads verbatims with one encoder. Sentiment, intent and urgency are trained on English only."""

    languages: frozenset[str] | None = None
    """What the embeddings were trained on (ISO 639-1); None: any language."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.languages = encoder.languages
        self.encoder_name = encoder.name
        self.version = "+".join((encoder.version, topic_geometry.VERSION, urgency.VERSION))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) unit embeddings; a text without words gets zeros."""
        return self.encode([_readable(text) for text in texts]).embeddings

    def read(self, verbatims: Sequence[Verbatim], topics: TopicSpace) -> list[Analysis]:
        """Analyse verbatims, in their order. Title and text are read as one; aspects come from the text alone."""
        bodies = [_readable(verbatim.text) for verbatim in verbatims]
        inputs = [_with_title(v.title, body) for v, body in zip(verbatims, bodies, strict=True)]
        spans = [clauses(body) for body in bodies]
        parts = {
            body[start:end]
            for body, found in zip(bodies, spans, strict=True)
            if len(found) > 1
            for start, end in found
        }
        unique = list(dict.fromkeys([*inputs, *sorted(parts)]))
        encoded = self.encode(unique)
        assigned = topics.assign(encoded.embeddings)
        reading = _Reading({text: row for row, text in enumerate(unique)}, encoded, assigned)
        return [
            reading.analysis(verbatim, whole, body, found)
            for verbatim, whole, body, found in zip(verbatims, inputs, bodies, spans, strict=True)
        ]

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embeddings and probabilities of texts as they are; a text without words gets a zero embedding."""
        encoded = self._encoder.encode(texts)
        wordless = [row for row, text in enumerate(texts) if not _has_words(text)]
        encoded.embeddings[wordless] = 0
        return encoded


class _Reading:
    """The encoder's rows of one batch, looked up by text."""

    def __init__(
        self, rows: dict[str, int], encoded: Encoded, assigned: list[tuple[TopicScore, ...]]
    ) -> None:
        self._rows = rows
        self._encoded = encoded
        self._assigned = assigned

    def analysis(self, verbatim: Verbatim, whole: str, body: str, spans: list[tuple[int, int]]) -> Analysis:
        row = self._rows[whole]
        language = detect(whole, verbatim.language)
        embedding = self._encoded.embeddings[row].copy()
        if not _has_words(whole):
            sentiment = Sentiment("neutral", 0.0, 0.0, unsure=True, mixed=False)
            return Analysis(embedding, sentiment, "other", "low", (), (), (), language)
        single = len(spans) == 1
        aspects = tuple(
            self._aspect(verbatim.text, start, end, row if single else self._rows[body[start:end]])
            for start, end in spans
        )
        polarity = self._encoded.sentiment[row]
        intent = self._encoded.intent[row]
        judged = urgency.judge(
            whole, negative=float(polarity[0]), intent=dict(zip(INTENTS, map(float, intent), strict=True))
        )
        return Analysis(
            embedding,
            self._sentiment(row, language, spans, body),
            INTENTS[int(intent.argmax())],
            judged.level,
            judged.reasons,
            self._assigned[row],
            aspects,
            language,
        )

    def _sentiment(self, row: int, language: str, spans: list[tuple[int, int]], body: str) -> Sentiment:
        polarity = self._encoded.sentiment[row]
        confidence = float(polarity.max())
        sides = set()
        if len(spans) > 1:
            for start, end in spans:
                clause = self._encoded.sentiment[self._rows[body[start:end]]]
                if clause.max() >= MIXED_FROM:
                    sides.add(LABELS[int(clause.argmax())])
        return Sentiment(
            label=LABELS[int(polarity.argmax())],
            score=float(polarity[2] - polarity[0]),
            confidence=confidence,
            unsure=confidence < UNSURE_BELOW or language != ENGLISH,
            mixed={"negative", "positive"} <= sides,
        )

    def _aspect(self, text: str, start: int, end: int, row: int) -> Aspect:
        polarity = self._encoded.sentiment[row]
        taken = self._assigned[row]
        return Aspect(
            quote=text[start:end],
            start=start,
            end=end,
            topic_id=taken[0].topic_id if taken else None,
            sentiment=LABELS[int(polarity.argmax())],
            score=float(polarity[2] - polarity[0]),
        )


def _readable(text: str) -> str:
    return _UNREADABLE.sub(" ", text)[:MAX_CHARS]


def _with_title(title: str | None, body: str) -> str:
    head = _readable(title or "").strip()
    if not head or body.strip().startswith(head):
        return body
    return f"{head}. {body}" if body.strip() else head


def _has_words(text: str) -> bool:
    return any(character.isalnum() for character in _PLACEHOLDER.sub(" ", text))
