"""Linear heads: multinomial logistic regression on standardised features, then temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

Floats = NDArray[np.float32]

LABEL_SMOOTHING = 0.05
BATCH = 512
LEARNING_RATE = 1e-3


@dataclass(frozen=True, slots=True)
class Head:
    """weight (features, classes) and bias (classes,); standardisation and temperature are folded in."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """(n, features) -> (n, classes)."""
        return features @ self.weight + self.bias

    def cooled(self, temperature: float) -> Head:
        """The same head with its logits divided by `temperature`."""
        return Head(self.weight / np.float32(temperature), self.bias / np.float32(temperature))


def fit(
    features: Floats,
    labels: Sequence[int],
    *,
    classes: int,
    decay: float,
    epochs: int,
    seed: int,
    weights: Floats | None = None,
) -> Head:
    """Fit one head. `weights` (n,) are per-example; classes weigh by the square root of their rarity."""
    torch.manual_seed(seed)
    mean, spread = features.mean(0), features.std(0) + 1e-4
    inputs = torch.from_numpy((features - mean) / spread)
    targets = torch.tensor(labels)
    counts = torch.bincount(targets, minlength=classes).float()
    importance = (counts.sum() / counts / classes).sqrt()[targets]
    if weights is not None:
        importance = importance * torch.from_numpy(weights)
    layer = nn.Linear(inputs.shape[1], classes)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=LEARNING_RATE, weight_decay=decay)
    steps = epochs * -(-len(targets) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(targets))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            losses = nn.functional.cross_entropy(
                layer(inputs[batch]), targets[batch], reduction="none", label_smoothing=LABEL_SMOOTHING
            )
            optimiser.zero_grad()
            (losses * importance[batch]).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    weight = layer.weight.detach().numpy().T / spread[:, None]
    bias = layer.bias.detach().numpy() - mean @ weight
    return Head(weight.astype(np.float32), bias.astype(np.float32))


def temperature(logits: Floats, labels: Sequence[int], *, weights: Floats | None = None) -> float:
    """Temperature that minimises (weighted) log loss (Guo et al. 2017, arXiv:1706.04599)."""
    index = np.arange(len(labels))
    share = np.ones(len(labels)) if weights is None else weights

    def loss(value: float) -> float:
        return float(-np.average(log_softmax(logits / value, axis=1)[index, list(labels)], weights=share))

    return float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)
