"""Towers against plain loops."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.modules.towers import AttentionFm, HistoryEncoder, ItemTower, Tower


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
