"""Any sentence-transformers model as the embedding; needs the `torch` extra."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from voice.analysis.encoder import Encoded, Encoder
from voice.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 32


class MissingExtraError(ConfigurationError, ValueError):
    """A hub encoder was asked for, but the packages it needs are not installed."""


class HubEncoder:
    """Embeddings from a hub id or local folder; sentiment and intent from `heads`.

    The shipped heads were trained in the shipped encoder's space and mean nothing in another, so each text is read
    by both models. `device` is auto, cpu or cuda. A hub id that is not on this machine yet is downloaded by
    sentence-transformers on first use.
    """

    def __init__(self, model_id: str, *, heads: Encoder, device: str = "auto") -> None:
        self.name = model_id
        self.languages: frozenset[str] | None = None
        self.version = f"{heads.version}+{model_id}"
        self._heads = heads
        self._device = None if device == "auto" else device
        self._loading = threading.Lock()
        self._model: Any = None

    @property
    def dimensions(self) -> int:
        """Length of the hub model's embedding."""
        return int(self._load().get_embedding_dimension())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode n texts; raises MissingExtraError without the torch extra."""
        model, read = self._load(), self._heads.encode(texts)
        if not texts:
            import numpy as np

            return Encoded(np.zeros((0, self.dimensions), np.float32), read.sentiment, read.intent)
        embeddings: NDArray[Any] = model.encode(
            list(texts),
            batch_size=BATCH,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return Encoded(embeddings.astype("float32"), read.sentiment, read.intent)

    def _load(self) -> Any:
        with self._loading:
            if self._model is None:
                try:
                    from sentence_transformers import SentenceTransformer
                except ImportError as error:
                    raise MissingExtraError(
                        f"the encoder {self.name} needs sentence-transformers: pip install voice[torch]"
                    ) from error
                self._model = SentenceTransformer(self.name, device=self._device)
            return self._model
