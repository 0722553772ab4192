"""Weights of a model as the compiled kernels of `hsnn.trainer.retrieval` take them."""

from __future__ import annotations

import numpy as np

from hsnn.trainer.model.array_layers import MlpArrays
from hsnn.trainer.model.array_levels import LevelsArrays
from hsnn.trainer.model.array_monn import MonnArrays
from hsnn.trainer.retrieval.item_scores import StateTowerWeights
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.retrieval.request_pairs import PairWeights
from hsnn.trainer.retrieval.user_towers import LevelWeights, Mlp, TowerWeights


def tower_weights(model: MonnArrays) -> TowerWeights | None:
    """Return the request side of a model; None if kernels do not know its towers.

    They know towers without an attention-FM, levels without cross features, and scores that are dot products.
    """
    if not model.has_dot_product_scores or model.item_user_tower.explicit is not None:
        return None
    return TowerWeights(
        position=model.history.position,
        gap=float(model.history.gap),
        features=model.features,
        item=_mlp(model.item_user_tower.mlp),
        node=_mlp(model.node_user_tower.mlp),
        item_skip=model.item_skip.weight,
        node_skip=model.node_skip.weight,
        levels=_levels(model.levels, model.config.levels),
        dim=model.config.dim,
    )


def state_tower_weights(model: MonnArrays) -> StateTowerWeights:
    """Return the weights of a model's state tower."""
    first, second = model.state_tower.mlp.layers
    return StateTowerWeights(
        first=first.columns,
        first_bias=_bias(first.bias),
        second=second.columns,
        second_bias=_bias(second.bias),
        popularity=float(model.state_tower.popularity),
    )


def pair_weights(model: MonnArrays) -> PairWeights | None:
    """Return the weights of a model's pair facts; None if it uses none."""
    if not model.config.pair_features:
        return None
    lift, scale, own = model.pair_weights()
    return PairWeights(lift, float(scale), own)


def _levels(levels: LevelsArrays, counts: tuple[int, ...]) -> LevelWeights:
    return LevelWeights(
        starts=np.cumsum([0, *counts]).astype(np.int64),
        heads=np.array([level.heads for level in levels.levels], np.int64),
        nodes=np.concatenate([level.nodes for level in levels.levels]),
        bias=np.concatenate([level.bias for level in levels.levels]),
        share=np.array([level.share for level in levels.levels], np.float32),
        ensemble=levels.ensemble,
    )


def _mlp(network: MlpArrays) -> Mlp:
    return Mlp(*(part for layer in network.layers for part in (layer.weight, _bias(layer.bias))))


def _bias(bias: Floats | None) -> Floats:
    assert bias is not None, "the layers of an MLP have biases"
    return bias
