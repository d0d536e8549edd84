"""Join heads to the quantised encoder, and record the shipped files in the catalogue."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from heads import Head
from onnx import TensorProto, helper, numpy_helper

CATALOGUE = """\
# Every model that Voice can load. `file` is relative to this catalogue's shipped folder.

[[model]]
name = "{name}"
task = "embedding, sentiment, intent"
file = "{name}.onnx"
sha256 = "{model}"
tokenizer = "tokenizer.json"
tokenizer_sha256 = "{tokenizer}"
version = "1"
dimensions = 384
max_tokens = 128
languages = ["en"]
licence = "Apache-2.0"
base = "all-MiniLM-L6-v2 (Apache-2.0), model.safetensors {base}"
card = "cards/{name}.md"
"""


def attach(encoder: Path, heads: dict[str, Head], target: Path) -> None:
    """Write `encoder` with each head as a float `Gemm` on its features; the features are no longer an output."""
    model = onnx.load(str(encoder))
    graph = model.graph
    for name, head in heads.items():
        weight, bias = f"{name}_weight", f"{name}_bias"
        graph.initializer.append(numpy_helper.from_array(head.weight.astype(np.float32), weight))
        graph.initializer.append(numpy_helper.from_array(head.bias.astype(np.float32), bias))
        graph.node.append(helper.make_node("Gemm", ["features", weight, bias], [name], name=f"node_{name}"))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", len(head.bias)]))
    graph.output.remove(next(output for output in graph.output if output.name == "features"))
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_catalogue(models: Path, *, name: str, base: str) -> None:
    """Write `catalogue.toml` beside and inside `shipped/`, with the checksums of the files there."""
    shipped = models / "shipped"
    text = CATALOGUE.format(
        name=name,
        model=sha256(shipped / f"{name}.onnx"),
        tokenizer=sha256(shipped / "tokenizer.json"),
        base=base,
    )
    for path in (models / "catalogue.toml", shipped / "catalogue.toml"):
        path.write_text(text, encoding="utf-8")
