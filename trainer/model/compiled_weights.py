"""Weights of a model as the compiled kernels of `hsnn.trainer.retrieval` take them."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from hsnn.trainer.model.monn import Monn
from hsnn.trainer.modules.over_arch import NodeOverArch
from hsnn.trainer.modules.towers import Tower
from hsnn.trainer.retrieval.item_scores import StateTowerWeights
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.retrieval.user_towers import LevelWeights, Mlp, TowerWeights


def tower_weights(model: Monn, features: Tensor) -> TowerWeights | None:
    """Return the request side of a model, with its feature rows (n, t); None if kernels do not know its towers.

    They know towers without an attention-FM, levels without cross features, and scores that are dot products.
    """
    if not model.has_dot_product_scores or model.item_user_tower.explicit is not None:
        return None
    return TowerWeights(
        position=_array(model.history.position),
        gap=float(model.history.gap.detach()),
        features=_array(features),
        item=_mlp(model.item_user_tower),
        node=_mlp(model.node_user_tower),
        item_skip=_array(model.item_skip.weight),
        node_skip=_array(model.node_skip.weight),
        levels=_levels(model),
        dim=model.config.dim,
    )


def state_tower_weights(model: Monn) -> StateTowerWeights:
    """Return the weights of a model's state tower."""
    first, second = (layer for layer in model.state_tower.layers if isinstance(layer, nn.Linear))
    return StateTowerWeights(
        first=_array(first.weight.T),
        first_bias=_array(first.bias),
        second=_array(second.weight.T),
        second_bias=_array(second.bias),
        popularity=float(model.state_tower.popularity.detach()),
    )


def _levels(model: Monn) -> LevelWeights:
    levels = model.levels
    over_archs = [cast(NodeOverArch, over_arch) for over_arch in levels.over_archs]
    return LevelWeights(
        starts=np.cumsum([0, *model.config.levels]).astype(np.int64),
        heads=np.array([over_arch.heads for over_arch in over_archs], np.int64),
        nodes=np.concatenate([_array(levels.node_features(level)) for level in range(len(over_archs))]),
        bias=np.concatenate([_array(over_arch.bias) for over_arch in over_archs]),
        share=np.array([float(over_arch.share.detach()) for over_arch in over_archs], np.float32),
        ensemble=_array(levels.ensemble),
    )


def _mlp(tower: Tower) -> Mlp:
    linear = [layer for layer in tower.layers if isinstance(layer, nn.Linear)]
    return Mlp(*(_array(part) for layer in linear for part in (layer.weight, layer.bias)))


@torch.inference_mode()
def _array(tensor: Tensor) -> Floats:
    """Copy a tensor, contiguous: a kernel is compiled anew for every other layout."""
    array: Floats = np.array(tensor.detach().numpy(), np.float32, order="C")
    return array
