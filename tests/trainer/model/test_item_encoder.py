"""Leaves found block by block are those that the hierarchy itself finds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.model import nearest_points
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.monn import Monn


def encoder_and_hierarchy(seed, discounted, children=()):
    torch.manual_seed(seed)
    config = ModelConfig(dim=6, nodes=40, children=children, buckets=16, item_tokens=2)
    monn = Monn(config)
    hierarchy: Hierarchy = monn.levels.hierarchy
    hierarchy.metric.copy_(torch.randn(7, 7))
    if discounted:
        hierarchy.discount(0).copy_(0.2 + 0.8 * torch.rand(40))
    with torch.no_grad():
        hierarchy.codes[0][7] = hierarchy.codes[0][30]  # of equally near ones the first
    weights = {name: value.numpy() for name, value in monn.state_dict().items()}
    weights["content"] = np.zeros((config.buckets, 7), np.float32)
    return Encoder(config, weights), hierarchy


@pytest.mark.parametrize("discounted", [False, True])
@pytest.mark.parametrize("children", [(), (3,)])
@given(seed=st.integers(0, 1000), count=st.integers(0, 70))
def test_the_nearest_leaf_is_that_of_the_hierarchy(discounted, children, seed, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_points, "_BLOCK_DISTANCES", 40 * 16)  # blocks of 16 items, the last one shorter
        encoder, hierarchy = encoder_and_hierarchy(seed, discounted, children)
        vectors = np.random.default_rng(seed).normal(0, 0.3, (count, 7)).astype(np.float32)
        found = encoder.assign(vectors)
        assert found.dtype == np.int32
        with torch.inference_mode():
            assert found.tolist() == hierarchy.assign(torch.from_numpy(vectors)).tolist()


def test_an_item_at_a_leaf_is_assigned_to_it():
    encoder, _ = encoder_and_hierarchy(1, discounted=False)
    expected = np.arange(40)
    expected[30] = 7
    assert encoder.assign(encoder.node_vectors.copy()).tolist() == expected.tolist()
