"""Sizes by name, as the paper's table has them."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.config.presets import PRESETS
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner


@pytest.mark.parametrize(
    ("name", "user", "item", "interaction", "width"),
    [
        ("small", 8, 1, 1, 40),
        ("medium", 10, 4, 1, 48),
        ("large", 30, 8, 1, 48),
    ],
)
def test_the_papers_sizes(name, user, item, interaction, width):
    config = ModelConfig(preset=name)
    found = config.user_vectors, config.item_vectors, config.interaction_vectors, config.dim
    assert found == (user, item, interaction, width)
    assert config.over_arch == "mlp"
    model = Monn(config)
    assert model.item_user_tower.layers[-1].out_features == user * width + config.state_dim
    assert (model.item_tower.tower.layers[-1].out_features if item > 1 else 0) == (item - 1) * width
    assert config.vector_width == item * width + 1
    assert model.item_user_tower.explicit is not None
    assert model.interaction_tower is None
    crossed = Monn(config.model_copy(update={"cross": True}))
    assert crossed.interaction_tower.layers[-1].out_features == interaction * width


def test_tiny_is_the_defaults():
    assert ModelConfig(preset="tiny") == ModelConfig()
    assert Monn(ModelConfig()).item_user_tower.explicit is None
    assert set(PRESETS) == {"tiny", "small", "medium", "large"}


def test_what_is_given_beside_a_name_wins():
    config = ModelConfig(preset="large", dim=8, over_arch="dot")
    assert (config.dim, config.over_arch, config.user_vectors) == (8, "dot", 30)
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="preset"):
        ModelConfig(preset="huge")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_a_larger_model_learns_and_is_published(config, new_world, teach, name):
    model = ModelConfig.model_validate(
        {
            "preset": name,
            "dim": 8,
            "hidden": 16,
            "history": 4,
            "token_dim": 4,
            "buckets": 256,
            "nodes": 4,
            "children": [3],
            "node_heads": 2,
            "beam": 2,
            "budget": 30,
            "state_dim": 4,
        }
    )
    learner, world = Learner(config.model_copy(update={"model": model})), new_world()
    losses = [teach(learner, world, 1).loss for _ in range(30)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    snapshot = make_snapshot(learner, SnapshotOrigin(1, 1))
    rows = np.arange(len(learner.items))
    vectors = Encoder(model, snapshot.model).vectors(snapshot.items["embeddings"], snapshot.items["tokens"])
    assert vectors.shape == (len(rows), model.vector_width)
    np.testing.assert_allclose(
        vectors, learner.network.items.vectors(rows, learner.items.tokens[rows]).numpy(), atol=1e-5
    )
    again = Learner.from_state_dict(learner.config, *learner.state_dict())
    batch = world.batch(64)
    for report in zip(again.train(again.prepare(batch)), learner.train(learner.prepare(batch)), strict=True):
        np.testing.assert_array_equal(*report)
