"""How levels compare users with nodes and items: one computation in several shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.cross_features import CROSS_FEATURES
from hsnn.trainer.features.item_counters import STATE_FEATURES
from hsnn.trainer.model.monn import Monn, UserVectors
from hsnn.trainer.modules.over_arch import NodeOverArch, OverArchInputs

B, N = 4, 9
MODELS: list[dict[str, Any]] = [
    {},
    {"over_arch": "mlp"},
    {"cross": True},
    {"over_arch": "mlp", "cross": True, "interaction_vectors": 2},
    {"user_vectors": 3, "item_vectors": 2},
    {"user_vectors": 3, "item_vectors": 2, "over_arch": "mlp", "cross": True},
    {"user_vectors": 2, "item_vectors": 3, "tasks": ("click", "like")},
]
every_model = pytest.mark.parametrize("shape", MODELS, ids=str)


def asked(shape: dict[str, Any], *, random: bool = True) -> tuple[Monn, UserVectors, dict[str, Any]]:
    """A model, B users, and N items with what `parts` wants of them."""
    torch.manual_seed(0)
    config = ModelConfig(dim=5, state_dim=3, hidden=8, nodes=4, buckets=16, **shape)
    model = Monn(config)
    if random:
        with torch.no_grad():
            for weights in model.parameters():
                weights.copy_(0.3 * torch.randn(weights.shape))
    users = UserVectors(
        torch.randn(B, config.user_vectors * 5), torch.randn(B, 3), (torch.randn(B, model.levels.widths[0]),)
    )
    cross = torch.rand(B, N, CROSS_FEATURES) if config.cross else None
    items = {
        "vectors": torch.randn(N, config.vector_width),
        "states": torch.randn(N, STATE_FEATURES),
        "coarse": torch.randn(B, N),
        "cross": cross,
    }
    return model, users, items


@every_model
def test_pairs_are_scored_as_everybody_against_everything_is(shape):
    model, users, items = asked(shape)
    every = model.over_arch(model.over_arch_inputs(users, **items))  # (B, N)
    pairs = [(0, 3), (3, 0), (2, 2), (2, 8), (0, 0)]
    user, item = torch.tensor(pairs).T
    some = UserVectors(users.item[user], users.state[user], tuple(level[user] for level in users.levels))
    cross = None if items["cross"] is None else items["cross"][user, item]
    parts = model.over_arch_inputs_of_pairs(
        some, items["vectors"][item], items["states"][item], items["coarse"][user, item], cross
    )
    torch.testing.assert_close(model.over_arch(parts), every[user, item])
    whole = model.over_arch_inputs(users, **items)
    torch.testing.assert_close(parts.products, whole.products[user, item])
    torch.testing.assert_close(parts.state_product, whole.state_product[user, item])
    torch.testing.assert_close(parts.bias, whole.bias[item])
    torch.testing.assert_close(parts.leaf_logits, whole.leaf_logits[user, item])
    if model.task_heads is not None:
        assert model.task_logits(parts).shape == (5, 2)


@every_model
def test_no_items_and_no_pairs(shape):
    model, users, items = asked(shape)
    nothing = {"vectors": items["vectors"][:0], "states": items["states"][:0], "coarse": items["coarse"][:, :0]}
    cross = None if items["cross"] is None else items["cross"][:, :0]
    assert model.item_logits(users, **nothing, cross=cross).shape == (B, 0)
    nobody = UserVectors(users.item[:0], users.state[:0], tuple(level[:0] for level in users.levels))
    pairs = model.over_arch_inputs_of_pairs(
        nobody, items["vectors"][:0], items["states"][:0], torch.zeros(0), None if cross is None else cross[0]
    )
    assert model.over_arch(pairs).shape == (0,)


@every_model
def test_the_sum_of_matching_products_by_hand(shape):
    model, users, items = asked({**shape, "over_arch": "dot"})
    found, config = model.item_logits(users, **items), model.config
    states = model.state_tower(items["states"])
    for user in range(B):
        for item in range(N):
            mine = users.item[user].view(-1, 5)
            its = items["vectors"][item, :-1].view(-1, 5)
            total = sum(mine[k] @ its[k] for k in range(min(config.user_vectors, config.item_vectors)))
            total = total + users.state[user] @ states[item, :-1] + items["vectors"][item, -1] + states[item, -1]
            total = total + model.over_arch.ensemble * items["coarse"][user, item]
            if config.cross:
                encoded = model.interaction_tower(items["cross"][user, item])
                total = total + model.over_arch.interaction_logits(encoded)
            torch.testing.assert_close(found[user, item], total)


@every_model
def test_a_network_begins_as_the_sum(shape):
    """At initialisation its last layer is zero: the same scores as a dot over-arch with the same weights."""
    network, users, items = asked({**shape, "over_arch": "mlp"}, random=False)
    dot, _, _ = asked({**shape, "over_arch": "dot"}, random=False)
    own = network.state_dict()
    dot.load_state_dict({name: own[name] for name in dot.state_dict()})
    torch.testing.assert_close(network.item_logits(users, **items), dot.item_logits(users, **items))
    with torch.no_grad():
        network.over_arch.network[-1].weight += 0.1
    assert not torch.allclose(network.item_logits(users, **items), dot.item_logits(users, **items))


def test_a_network_sees_all_products():
    """Also those of segments that do not match: they can change the score."""
    model, users, items = asked({"user_vectors": 3, "item_vectors": 2, "over_arch": "mlp"})
    parts = model.over_arch_inputs(users, **items)
    products = parts.products.detach().requires_grad_()
    model.over_arch(parts._replace(products=products)).sum().backward()
    assert (products.grad != 0).flatten(0, 1).any(0).all()
    assert parts.products.shape == (B, N, 6)
    torch.testing.assert_close(parts.products[1, 2, 5], users.item[1].view(3, 5)[2] @ items["vectors"][2, 5:10])


def test_no_gradient_goes_back_to_the_coarse_logits():
    model, users, items = asked({"over_arch": "mlp"})
    coarse = items["coarse"].requires_grad_()
    model.item_logits(users, **items).sum().backward()
    assert coarse.grad is None
    assert model.over_arch.ensemble.grad is not None


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_nodes_of_ones_own_are_scored_as_nodes_of_all(cross, heads):
    torch.manual_seed(0)
    over_arch = NodeOverArch(ModelConfig(dim=5, cross=cross), 12, heads)
    with torch.no_grad():
        for weights in over_arch.parameters():
            weights.copy_(torch.randn(weights.shape))
    users, nodes, share = torch.randn(B, heads * 5), torch.randn(12, 5), torch.randn(12)
    every = over_arch(users, nodes, slice(None), share)
    which = torch.stack([torch.randperm(12)[:4] for _ in range(B)])
    each = over_arch.forward_each(users, nodes[which], which, share[which])
    torch.testing.assert_close(each, every.gather(1, which))
    some = torch.tensor([7, 0, 3])
    torch.testing.assert_close(over_arch(users, nodes[some], some, share[some]), every[:, some])
    for node in range(12):
        logit = torch.logsumexp(users[2].view(heads, 5) @ nodes[node], 0)
        if cross:
            logit = logit + over_arch.crossing.weight @ users[2] @ nodes[node]
        expected = logit + over_arch.bias[node] + over_arch.share * share[node]
        torch.testing.assert_close(every[2, node], expected)


@pytest.mark.parametrize(
    ("shape", "has_dot_product_scores"),
    [
        ({}, True),
        ({"over_arch": "mlp"}, False),
        ({"cross": True}, False),
        ({"user_vectors": 2, "item_vectors": 2}, True),
    ],
)
def test_which_models_have_bounds(shape, has_dot_product_scores):
    assert Monn(ModelConfig(**shape)).has_dot_product_scores == has_dot_product_scores


def test_a_task_begins_as_the_score():
    """With a lower base rate: what is clicked is rare among what is shown."""
    model, users, items = asked({"tasks": ("click", "like")}, random=False)
    some = UserVectors(users.item[:3], users.state[:3], tuple(level[:3] for level in users.levels))
    parts: OverArchInputs = model.over_arch_inputs_of_pairs(
        some, items["vectors"][:3], items["states"][:3], torch.zeros(3)
    )
    score = model.over_arch(parts)
    torch.testing.assert_close(model.task_logits(parts), (score - 2.0)[:, None].expand(3, 2))
