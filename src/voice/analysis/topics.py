"""Topics by geometry: a text belongs to the topics whose description and examples it lies close to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voice.analysis.records import TopicScore
from voice.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

VERSION = "topics-1"
MAX_TOPICS = 3
NEAREST = 3
SHARPNESS = 12.0
# A topic's threshold lies this far from the others' examples (0) to its own (1).
MARGIN = 0.6
# Nearer than this to no anchor of a topic is nowhere near it, whatever the centred geometry says.
MIN_COSINE = 0.3
SHIPPED_TAXONOMY = Path(__file__).with_name("taxonomy.yaml")


@dataclass(frozen=True, slots=True)
class TopicDefinition:
    """A node of the taxonomy; description and examples are what texts are compared with."""

    id: str
    name: str
    description: str
    examples: tuple[str, ...]


def load_taxonomy(path: Path | None = None) -> list[TopicDefinition]:
    """The taxonomy in a YAML file, by default the shipped one. Raises ConfigurationError when it is malformed."""
    import yaml

    source = path or SHIPPED_TAXONOMY
    try:
        entries = yaml.safe_load(source.read_text(encoding="utf-8"))
        topics = [
            TopicDefinition(
                str(entry["id"]),
                str(entry["name"]),
                str(entry["description"]),
                tuple(map(str, entry["examples"])),
            )
            for entry in entries
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{source.name}: a taxonomy is a list of topics with id, name, description and examples"
        ) from error
    if len({topic.id for topic in topics}) < len(topics):
        raise ConfigurationError(f"{source.name}: two topics have the same id")
    return topics


class TopicSpace:
    """The taxonomy as points. Scores of 0.5 and more mean that the topic takes the text; none may.

    Anchors and texts are centred on the mean anchor, since all feedback shares a direction. A topic's similarity
    is the mean of its three nearest anchors; its threshold lies between what the other topics' anchors and its
    own (left out in turn) reach.
    """

    def __init__(
        self, definitions: Sequence[TopicDefinition], encode: Callable[[Sequence[str]], Floats]
    ) -> None:
        import numpy as np

        self.definitions = tuple(definitions)
        texts = [(row, text) for row, topic in enumerate(definitions) for text in _anchor_texts(topic)]
        self._owners = np.array([row for row, _ in texts], np.int64)
        anchors = encode([text for _, text in texts])
        self._centre = anchors.mean(0) if len(texts) else np.zeros(0, np.float32)
        self._raw = anchors
        self._anchors = _unit(anchors - self._centre) if len(texts) else anchors
        self._thresholds = self._calibrate()

    def score(self, embeddings: Floats) -> Floats:
        """(n, d) unit embeddings -> (n, k) scores 0..1, columns in the order of the definitions."""
        import numpy as np

        if not len(self.definitions) or not len(embeddings):
            return np.zeros((len(embeddings), len(self.definitions)), np.float32)
        similarity = self._nearest(_unit(embeddings - self._centre) @ self._anchors.T, NEAREST)
        scores = 1 / (1 + np.exp(-SHARPNESS * (similarity - self._thresholds)))
        scores[self._nearest(embeddings @ self._raw.T, 1) < MIN_COSINE] = 0
        return np.asarray(scores, np.float32)

    def assign(self, embeddings: Floats) -> list[tuple[TopicScore, ...]]:
        """For each row of (n, d), at most three topics that take it, the strongest first."""
        found = []
        for row in self.score(embeddings):
            best = [int(index) for index in (-row).argsort(kind="stable")[:MAX_TOPICS]]
            found.append(
                tuple(TopicScore(self.definitions[i].id, float(row[i])) for i in best if row[i] >= 0.5)
            )
        return found

    def _nearest(self, cosines: Floats, count: int) -> Floats:
        """(n, anchors) cosines -> (n, k): mean over the `count` nearest anchors of each topic."""
        import numpy as np

        columns = []
        for row in range(len(self.definitions)):
            own = np.sort(cosines[:, self._owners == row], axis=1)
            columns.append(own[:, -count:].mean(1))
        return np.stack(columns, 1)

    def _calibrate(self) -> Floats:
        import numpy as np

        if not len(self._owners):
            return np.zeros(len(self.definitions), np.float32)
        cosines = self._anchors @ self._anchors.T
        np.fill_diagonal(cosines, -1)
        similarity = self._nearest(cosines, NEAREST)
        thresholds = []
        for row in range(len(self.definitions)):
            own = similarity[self._owners == row, row]
            others = similarity[self._owners != row, row]
            low = float(np.quantile(others, 0.9)) if len(others) else 0.0
            high = float(np.quantile(own, 0.5))
            thresholds.append(low + MARGIN * max(high - low, 0.0))
        return np.array(thresholds, np.float32)


def _anchor_texts(topic: TopicDefinition) -> tuple[str, ...]:
    return tuple(text for text in (topic.description, *topic.examples) if text.strip()) or (topic.name,)


def _unit(rows: Floats) -> Floats:
    import numpy as np

    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)
