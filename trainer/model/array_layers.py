"""Layers of a published model on arrays, without torch: the forward pass of `hsnn.trainer.modules.towers`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.rowstore.arrays import Array, select_prefix

Weights = Mapping[str, Array]
"""Arrays by the name that torch's `state_dict` gives them."""


def weight(weights: Weights, name: str) -> Floats:
    """Return a contiguous copy of an array: a kernel is compiled anew for every other layout."""
    return np.array(weights[name], np.float32, order="C")


def number(weights: Weights, name: str) -> np.float32:
    """Return an array of one number as that number."""
    return np.float32(weights[name].item())


def softmax(values: Floats, axis: int) -> Floats:
    """Compute the softmax over one axis."""
    raised: Floats = np.exp(values - values.max(axis, keepdims=True))
    raised /= raised.sum(axis, keepdims=True)
    return raised


def log_sum_exp(values: Floats, axis: int) -> Floats:
    """Compute the log-sum-exp over one axis, which has a finite value in each place.

    Examples
    --------
    >>> np.exp(log_sum_exp(np.array([[0, 0, -np.inf]], np.float32), 1)).tolist()
    [2.0]
    """
    largest = values.max(axis, keepdims=True)
    total: Floats = np.log(np.exp(values - largest).sum(axis))
    total += largest.squeeze(axis)
    return total


class LinearArrays:
    """Linear layer; `bias` is None where it has none."""

    def __init__(self, weights: Weights) -> None:
        self.weight = weight(weights, "weight")  # (out, in)
        self.columns: Floats = np.ascontiguousarray(self.weight.T)  # (in, out)
        self.bias = weight(weights, "bias") if "bias" in weights else None

    def __call__(self, values: Floats) -> Floats:
        """Map values (..., in) to (..., out)."""
        # Two axes: of more, NumPy makes one small matrix product per place of the others.
        out: Floats = values.reshape(-1, values.shape[-1]) @ self.columns
        if self.bias is not None:
            out += self.bias
        return out.reshape(*values.shape[:-1], len(self.weight))


class MlpArrays:
    """Linear layers with ReLU between them."""

    def __init__(self, weights: Weights) -> None:
        numbers = sorted({int(name.split(".")[0]) for name in weights})
        self.layers = [LinearArrays(select_prefix(weights, f"{layer}.")) for layer in numbers]

    def __call__(self, values: Floats) -> Floats:
        """Map values (..., in) to (..., out)."""
        for layer in self.layers[:-1]:
            values = layer(values)
            np.maximum(values, 0, out=values)
        return self.layers[-1](values)


class AttentionFmArrays:
    """Attention-weighted pairwise products of fields: see `hsnn.trainer.modules.towers.AttentionFm`."""

    def __init__(self, weights: Weights, fields: tuple[int, ...]) -> None:
        self._ends = np.cumsum(fields)[:-1].tolist()
        self._project = [LinearArrays(select_prefix(weights, f"bring.{field}.")) for field in range(len(fields))]
        self._attend = MlpArrays(select_prefix(weights, "attend."))
        self._out = LinearArrays(select_prefix(weights, "out."))
        self._left, self._right = np.array([*combinations(range(len(fields)), 2)]).T

    def __call__(self, features: Floats) -> Floats:
        """Encode features (n, sum of field widths) as (n, out)."""
        parts = zip(self._project, np.split(features, self._ends, 1), strict=True)
        projected = np.stack([project(part) for project, part in parts], 1)  # (n, fields, w)
        products = projected[:, self._left] * projected[:, self._right]  # (n, pairs, w)
        return self._out((softmax(self._attend(products), 1) * products).sum(1))


class TowerArrays:
    """MLP over all features plus, in every preset but ``tiny``, an attention-FM over their fields."""

    def __init__(self, config: ModelConfig, weights: Weights, fields: tuple[int, ...]) -> None:
        self.mlp = MlpArrays(select_prefix(weights, "layers."))
        explicit = select_prefix(weights, "explicit.")
        self.explicit = None if config.preset == "tiny" else AttentionFmArrays(explicit, fields)

    def __call__(self, features: Floats) -> Floats:
        """Encode features (n, F) as (n, out)."""
        implicit = self.mlp(features)
        return implicit if self.explicit is None else implicit + self.explicit(features)


class StateTowerArrays:
    """State features (n, F) to state vectors (n, p + 1): see `hsnn.trainer.modules.towers.StateTower`."""

    def __init__(self, weights: Weights) -> None:
        self.mlp = MlpArrays(select_prefix(weights, "layers."))
        self.popularity = number(weights, "popularity")

    def __call__(self, features: Floats) -> Floats:
        """Encode state features (n, F); the last column of the result is a bias."""
        out = self.mlp(features[:, :-1])
        out[:, -1] += self.popularity * features[:, -1]
        return out


class HistoryArrays:
    """Mean of a history's item vectors by place and age, and the last one: see `hsnn.trainer.modules.towers`.

    Attributes
    ----------
    position : (L,) float32
    gap : float32
        Factor of the log gap in a history item's weight.
    """

    def __init__(self, weights: Weights) -> None:
        self.position, self.gap = weight(weights, "position"), number(weights, "gap")

    def __call__(self, vectors: Floats, gaps: Floats, known: NDArray[np.bool_]) -> Floats:
        """Encode history vectors (B, L, d), zero where not `known` (B, L), with log gaps (B, L): (B, 2d)."""
        logits = self.position + self.gap * gaps  # (B, L)
        shares = np.exp(logits - logits.max(1, keepdims=True)) * known
        shares /= np.maximum(shares.sum(1, keepdims=True), np.float32(1e-6))
        return np.concatenate([(shares[:, None] @ vectors)[:, 0], vectors[:, -1] * known[:, -1:]], 1)
