"""The model on arrays says what the model of torch says, in every shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.config.presets import PRESETS
from hsnn.trainer.features.cross_features import CROSS_FEATURES
from hsnn.trainer.features.item_counters import STATE_FEATURES
from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.index.levels import level_log_shares
from hsnn.trainer.messages import COVISIT_HALF_LIVES
from hsnn.trainer.model.array_monn import MonnArrays
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.modules.inputs import model_inputs

SHAPES = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(sorted(PRESETS)),
        "over_arch": st.sampled_from(["dot", "mlp"]),
        "user_vectors": st.integers(1, 3),
        "item_vectors": st.integers(1, 3),
        "cross": st.booleans(),
        "interaction_vectors": st.integers(1, 2),
        "node_heads": st.integers(1, 4),
        "children": st.sampled_from([(), (3,), (2, 3)]),
        "pair_features": st.just(True),
    }
)


def model_of(shape: dict[str, Any], seed: int) -> tuple[Monn, MonnArrays]:
    """A model whose every weight is random, and the same one on arrays."""
    torch.manual_seed(seed)
    config = ModelConfig(dim=6, state_dim=3, hidden=8, token_dim=4, nodes=4, buckets=16, history=3, **shape)
    model = Monn(config)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(0.3 * torch.randn(tensor.shape))
    features = 0.3 * torch.randn(2 * config.buckets + 1, config.token_dim)
    features[-1] = 0
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return model, MonnArrays(config, weights | {"features": features.numpy()})


def queries_of(config: ModelConfig, rng: np.random.Generator, count: int) -> QueryArrays:
    """Queries with histories of all lengths."""
    held = np.arange(config.history) >= rng.integers(0, config.history + 1, count)[:, None]
    return QueryArrays(
        np.where(held, rng.integers(0, 9, held.shape), -1).astype(np.int32),
        rng.integers(1_000_000, 9_000_000, held.shape),
        rng.integers(-1, config.buckets, (count, 5)).astype(np.int32),
        rng.integers(-1, config.buckets, (count, 2)).astype(np.int32),
        rng.integers(8_000_000, 99_000_000, count),
    )


def close(found: np.ndarray, wanted: torch.Tensor) -> None:
    wanted = wanted.detach().numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(0, 999), st.integers(1, 5))
def test_users_levels_and_items(shape, seed, count):
    model, arrays = model_of(shape, seed)
    config, rng = model.config, np.random.default_rng(seed)
    queries = queries_of(config, rng, count)
    history = rng.normal(size=(count, config.history, config.dim)).astype(np.float32)
    history *= (queries.history_items >= 0)[:, :, None]
    rows, table = torch.from_numpy(queries.feature_rows(config.buckets)), torch.from_numpy(arrays.features)
    users, own = (
        model.encode_users(model_inputs(queries, torch.from_numpy(history), table, rows)),
        arrays.encode_users(queries, history),
    )
    close(own.item, users.item)
    close(own.state, users.state)
    for one, level in zip(own.levels, users.levels, strict=True):
        close(one, level)

    share = np.log(rng.dirichlet(np.ones(config.leaves)) + 1e-6).astype(np.float32)
    shares, own_shares = level_log_shares(torch.from_numpy(share), config.levels), arrays.levels.log_shares(share)
    every = model.levels.level_log_probs(users.levels, shares)
    for log_p, level in zip(arrays.levels.level_log_probs(own.levels, own_shares), every, strict=True):
        close(log_p, level)
    for width in (1, 2, config.leaves):
        reached, scored = model.levels.beam_log_probs(users.levels, shares, width)
        own_reached, own_scored = arrays.levels.beam_log_probs(own.levels, own_shares, width)
        assert own_scored == scored
        close(own_reached, reached)

    items = 7
    vectors = rng.normal(size=(items, config.vector_width)).astype(np.float32)
    states = rng.normal(size=(items, STATE_FEATURES)).astype(np.float32)
    coarse = rng.normal(size=(count, items)).astype(np.float32)
    cross = rng.random((count, items, CROSS_FEATURES), dtype=np.float32) if config.cross else None
    wanted = model.item_logits(
        users,
        torch.from_numpy(vectors),
        torch.from_numpy(states),
        coarse=torch.from_numpy(coarse),
        cross=None if cross is None else torch.from_numpy(cross),
    )
    close(arrays.item_logits(own, vectors, states, coarse=coarse, cross=cross), wanted)
    close(arrays.state_tower(states), model.state_tower(torch.from_numpy(states)))
    close(arrays.mean_user_scores(vectors, states), model.mean_user_scores(*map(torch.from_numpy, (vectors, states))))
    assert arrays.has_dot_product_scores == model.has_dot_product_scores


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(0, 6), st.integers(0, 6))
def test_logits_of_pair_facts(seed, near, past):
    model, arrays = model_of({}, seed)
    rng = np.random.default_rng(seed)
    facts = PairFacts(
        np.zeros(near, np.int64),
        np.arange(near),
        rng.exponential(9, (near, len(COVISIT_HALF_LIVES))).astype(np.float32),
        np.zeros(past, np.int64),
        np.arange(past),
        rng.normal(size=(past, OWN_FEATURES)).astype(np.float32),
    )
    assert model.pair_logits is not None
    # the learned weights times their factors: e to the power of 20 at most
    for found, wanted in zip(arrays.pair_logits(facts), model.pair_logits(facts), strict=True):
        np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_no_requests_and_no_items():
    _, arrays = model_of({"cross": True, "over_arch": "mlp", "children": (3,)}, 0)
    nobody = queries_of(arrays.config, np.random.default_rng(0), 0)
    users = arrays.encode_users(nobody, np.zeros((0, 3, 6), np.float32))
    shares = arrays.levels.log_shares(np.full(12, -2.5, np.float32))
    assert arrays.levels.level_log_probs(users.levels, shares)[-1].shape == (0, 12)
    assert arrays.levels.beam_log_probs(users.levels, shares, 2)[0].shape == (0, 12)
    queries = queries_of(arrays.config, np.random.default_rng(0), 2)
    users = arrays.encode_users(queries, np.zeros((2, 3, 6), np.float32))
    nothing = np.zeros((0, arrays.config.vector_width), np.float32), np.zeros((0, STATE_FEATURES), np.float32)
    cross = np.zeros((2, 0, CROSS_FEATURES), np.float32)
    assert arrays.item_logits(users, *nothing, coarse=np.zeros((2, 0), np.float32), cross=cross).shape == (2, 0)


def test_weights_are_copied():
    model, arrays = model_of({}, 0)
    before = arrays.history.position.copy()
    with torch.no_grad():
        model.history.position.fill_(9)
    assert arrays.history.position.tolist() == before.tolist()
