"""The shipped encoder: one ONNX pass gives embedding, sentiment and intent.

Nothing heavy is imported before the first text is encoded, so the module is safe to import before a fork.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from voice.analysis.language import ENGLISH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BATCH = 8
MAX_TOKENS = 128
MAX_CHUNKS = 24
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Encoded:
    """Of n texts: unit embeddings (n, d), and probabilities of sentiment (n, 3) and intent (n, 5).

    Columns follow `records.LABELS` and `records.INTENTS`.
    """

    embeddings: Floats
    sentiment: Floats
    intent: Floats


class Encoder(Protocol):
    """What the analyser asks of an encoder."""

    @property
    def name(self) -> str:
        """What results record as the encoder: embeddings of one name may be compared."""
        ...

    @property
    def version(self) -> str:
        """Every model that takes part, for the version that results record."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """ISO 639-1 codes that the embeddings were trained on; None: any."""
        ...

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, in their order; an empty sequence gives arrays with no rows."""
        ...


def available_threads() -> int:
    """CPU cores this process may use: its affinity, capped by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


class OnnxEncoder:
    """An ONNX graph with outputs `sentence_embedding`, `sentiment_logits` and `intent_logits`.

    Texts of more than 128 tokens are read in even chunks (at most 24, the rest is left out) whose embeddings and
    probabilities are averaged by length. Safe to call from several threads.
    """

    def __init__(
        self, model: Path, tokenizer: Path, *, name: str, dimensions: int, threads: int | None = None
    ) -> None:
        self.name = self.version = name
        self.languages: frozenset[str] | None = frozenset({ENGLISH})
        self.dimensions = dimensions
        self._model = model
        self._tokenizer = tokenizer
        self._threads = threads
        self._loading = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode n texts in batches of similar length."""
        import numpy as np

        session, tokenizer = self._load()
        chunks: list[list[int]] = []
        owners: list[int] = []
        for owner, ids in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            pieces = _chunks(ids.ids)
            chunks += pieces
            owners += [owner] * len(pieces)
        embeddings, sentiment, intent = self._run(session, tokenizer, chunks)
        lengths = np.array([len(chunk) + 2 for chunk in chunks], np.float32)
        shares = np.zeros((len(texts), len(chunks)), np.float32)
        shares[owners, np.arange(len(chunks))] = lengths
        shares /= shares.sum(1, keepdims=True)
        pooled = shares @ embeddings
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        return Encoded(pooled, shares @ sentiment, shares @ intent)

    def _run(self, session: Any, tokenizer: Any, chunks: list[list[int]]) -> tuple[Floats, Floats, Floats]:
        import numpy as np

        first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        outputs = ["sentence_embedding", "sentiment_logits", "intent_logits"]
        results = [np.zeros((len(chunks), width), np.float32) for width in (self.dimensions, 3, 5)]
        order = sorted(range(len(chunks)), key=lambda index: len(chunks[index]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            ids = np.zeros((len(batch), len(chunks[batch[-1]]) + 2), np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(batch):
                tokens = [first, *chunks[index], last]
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            for result, values in zip(
                results, session.run(outputs, {"input_ids": ids, "attention_mask": mask}), strict=True
            ):
                result[batch] = values
        return results[0], _softmax(results[1]), _softmax(results[2])

    def _load(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                import onnxruntime
                from tokenizers import Tokenizer

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._threads or available_threads()
                options.inter_op_num_threads = 1
                # Threads that spin while they wait take the cores from the database and from other workers.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                session = onnxruntime.InferenceSession(
                    str(self._model), options, providers=["CPUExecutionProvider"]
                )
                self._loaded = session, Tokenizer.from_file(str(self._tokenizer))
            return self._loaded


def _chunks(ids: list[int]) -> list[list[int]]:
    """Token ids in even pieces that fit the encoder beside [CLS] and [SEP]; one empty piece for no tokens."""
    room = MAX_TOKENS - 2
    if len(ids) <= room:
        return [ids]
    ids = ids[: room * MAX_CHUNKS]
    size = math.ceil(len(ids) / math.ceil(len(ids) / room))
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _softmax(logits: Floats) -> Floats:
    import numpy as np

    raised = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)
