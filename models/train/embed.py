"""Pooled features of texts, computed with the very int8 graph that ships, cached on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from encoder import FEATURES, tokenizer
from numpy.typing import NDArray

BATCH = 8


def _key(model: Path, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(model.read_bytes())
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def embeddings(model: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """(n, 384) unit embeddings of `texts`, each read alone."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rows = []
    for text in texts:
        ids = np.array([tokenizer().encode(text).ids])
        rows.append(
            session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        )
    return np.concatenate(rows)


def features(model: Path, texts: Sequence[str], *, cache: Path, threads: int) -> NDArray[np.float32]:
    """(n, FEATURES) pooled states of `texts`; half precision on disk under `cache`, keyed by model and texts."""
    stored = cache / f"features-{_key(model, texts)}.npy"
    if stored.exists():
        return np.asarray(np.load(stored), np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    encoded = [item.ids for item in tokenizer().encode_batch(list(texts))]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    out = np.zeros((len(texts), FEATURES), np.float16)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        width = max(len(encoded[index]) for index in batch)
        ids = np.zeros((len(batch), width), np.int64)
        mask = np.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, : len(encoded[index])] = encoded[index]
            mask[row, : len(encoded[index])] = 1
        out[batch] = session.run(["features"], {"input_ids": ids, "attention_mask": mask})[0]
    np.save(stored, out)
    return out.astype(np.float32)
