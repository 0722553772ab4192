"""Towers against plain loops."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import STATE_FEATURES
from hsnn.trainer.features.queries import user_field_widths
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.modules.towers import (
    AttentionFm,
    HistoryEncoder,
    HistorySkip,
    ItemTower,
    StateTower,
    Tower,
)


@pytest.mark.parametrize("fields", [(3, 2), (4, 4, 1, 2), (1,) * 6])
def test_attention_fm_by_hand(fields):
    """Products of all pairs of fields, summed with weights that a network gives them."""
    torch.manual_seed(0)
    tower, features = AttentionFm(fields, 5, 7), torch.randn(4, sum(fields))
    found = tower(features)
    for row in range(4):
        first, brought = 0, []
        for width, bring in zip(fields, tower.bring, strict=True):
            brought.append(bring.weight @ features[row, first : first + width])
            first += width
        products = [one * other for one, other in combinations(brought, 2)]
        weights = torch.softmax(torch.stack([tower.attend(product)[0] for product in products]), 0)
        joined = sum(weight * product for weight, product in zip(weights, products, strict=True))
        torch.testing.assert_close(found[row], tower.out.weight @ joined)


def test_attention_fm_does_not_care_for_the_order_of_equal_fields():
    torch.manual_seed(0)
    tower, features = AttentionFm((2, 2, 2), 3, 4), torch.randn(5, 6)
    for bring in tower.bring[1:]:
        bring.weight.data.copy_(tower.bring[0].weight.data)
    turned = torch.cat([features[:, 2:4], features[:, 4:], features[:, :2]], 1)
    torch.testing.assert_close(tower(features), tower(turned))


def test_a_tower_is_its_two_halves():
    torch.manual_seed(0)
    plain, large = (Tower(ModelConfig(preset=name, hidden=8), (3, 2), 4) for name in ("tiny", "small"))
    features = torch.randn(6, 5)
    assert plain.explicit is None
    torch.testing.assert_close(plain(features), plain.layers(features))
    torch.testing.assert_close(large(features), large.layers(features) + large.explicit(features))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_first_item_vector_is_id_and_content_and_the_last_number_a_bias(count):
    torch.manual_seed(0)
    tower = ItemTower(ModelConfig(dim=3, item_vectors=count, hidden=8))
    own, content = torch.randn(5, 4), torch.randn(5, 4)
    vectors = tower(own, content)
    assert vectors.shape == (5, 3 * count + 1)
    torch.testing.assert_close(vectors[:, :3], (own + content)[:, :3])
    torch.testing.assert_close(vectors[:, -1], (own + content)[:, -1])
    changed = tower(own + 1, content - 1)  # the same sum of other parts
    torch.testing.assert_close(changed[:, :3], vectors[:, :3])
    assert count == 1 or not torch.allclose(changed[:, 3:-1], vectors[:, 3:-1])


def test_history_by_hand():
    torch.manual_seed(0)
    encoder = HistoryEncoder(ModelConfig(history=4, dim=3))
    vectors, gaps = torch.randn(2, 4, 3), torch.rand(2, 4) * 5
    mask = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 0]])
    found = encoder(vectors * mask[:, :, None], gaps, mask)
    weights = torch.softmax(encoder.position[2:] + encoder.gap * gaps[0, 2:], 0)
    torch.testing.assert_close(found[0, :3], weights @ vectors[0, 2:])
    torch.testing.assert_close(found[0, 3:], vectors[0, 3])
    assert not found[1].any()


@pytest.mark.parametrize("vectors", [1, 3])
def test_an_untrained_skip_is_the_mean_of_history_and_last_item(vectors):
    """For every vector of the user."""
    config = ModelConfig(dim=3)
    mean, last = torch.randn(5, 3), torch.randn(5, 3)
    found = HistorySkip(config, vectors)(torch.cat([mean, last], 1))
    torch.testing.assert_close(found, ((mean + last) / 2).repeat(1, vectors))


def test_an_untrained_user_without_towers_is_the_skip_of_its_encoded_history():
    """Items and nodes start from the same skip; only that of the nodes gets no gradient back."""
    torch.manual_seed(0)
    monn = Monn(ModelConfig(dim=3, history=4, hidden=8, nodes=4, node_heads=2))
    for tower in (monn.item_user_tower, monn.node_user_tower):
        for weight in tower.parameters():
            weight.data.zero_()
    features = torch.randn(2, sum(user_field_widths(monn.config)), requires_grad=True)
    users = monn.encode_features(features)
    half = (features[:, :3] + features[:, 3:6]) / 2
    torch.testing.assert_close(users.item, half)
    torch.testing.assert_close(users.levels[0], half.repeat(1, 2))
    assert not users.state.any()
    (gradient,) = torch.autograd.grad(users.item.sum() + users.levels[0].sum(), features)
    assert gradient[:, :6].tolist() == [[0.5] * 6] * 2


def test_log_popularity_adds_to_the_bias_alone_with_factor_1():
    torch.manual_seed(0)
    tower, features = StateTower(ModelConfig(state_dim=4)), torch.randn(6, STATE_FEATURES)
    more = features.clone()
    more[:, -1] += torch.arange(6)
    before, after = tower(features), tower(more)
    torch.testing.assert_close(after[:, :-1], before[:, :-1], rtol=0, atol=0)
    torch.testing.assert_close(after[:, -1] - before[:, -1], torch.arange(6).float())
    tower.popularity.data.fill_(0.25)
    torch.testing.assert_close(tower(more)[:, -1] - tower(features)[:, -1], torch.arange(6) / 4)
