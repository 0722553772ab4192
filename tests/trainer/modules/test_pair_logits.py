"""The logits of pair facts before anything is learned, and what is learned of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts
from hsnn.trainer.modules.pair_logits import PairLogits

SMOOTHING = 15.0
"""Popularity that smooths co-visitation before anything is learned, in pairs."""


def facts_of(covisitation: np.ndarray, popularity: np.ndarray, own: np.ndarray) -> PairFacts:
    """Facts of one query and items with `covisitation` (n, 2) and `popularity` (n,), and of past items `own` (m, F)."""
    near, past = np.arange(len(covisitation)), np.arange(len(own))
    return PairFacts(
        query=np.zeros_like(near),
        candidate=near,
        lift=(covisitation / popularity[:, None]).astype(np.float32),
        own_query=np.zeros_like(past),
        own_candidate=past,
        own=own.astype(np.float32),
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_with_log_popularity_the_start_is_smoothed_covisitation(rng):
    covisitation, popularity = rng.exponential(1.0, (50, 2)), rng.dirichlet(np.full(50, 0.3)) + 1e-4
    covisitation[:5] = 0
    near, _ = PairLogits()(facts_of(covisitation, popularity, np.zeros((0, OWN_FEATURES))))
    logits = np.log(popularity) + near.detach().numpy()
    counted = popularity + covisitation.sum(1) / SMOOTHING
    np.testing.assert_allclose(logits, np.log(counted), rtol=1e-5, atol=1e-5)
    assert np.argsort(logits).tolist() == np.argsort(counted).tolist()
    assert np.argsort(logits).tolist() != np.argsort(popularity).tolist()


def test_at_the_start_past_items_add_nothing(rng):
    _, past = PairLogits()(facts_of(np.zeros((0, 2)), np.zeros(0), rng.random((20, OWN_FEATURES))))
    assert past.shape == (20,)
    assert not past.detach().any()


def test_every_weight_gets_a_gradient_from_the_start_on(rng):
    module = PairLogits()
    near, past = module(facts_of(rng.random((9, 2)) + 0.1, np.full(9, 0.1), rng.random((9, OWN_FEATURES)) + 0.1))
    (near.sum() + past.sum()).backward()
    assert set(dict(module.named_parameters())) == {"strength", "scale", "own"}
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert (weight.grad > 0).all(), name


def test_smoothing_is_learned_for_each_half_life():
    module = PairLogits()
    facts = facts_of(np.eye(2), np.full(2, 0.1), np.zeros((0, OWN_FEATURES)))
    module.strength.data[0] = np.log(3) / 20  # a third of the smoothing, at the short half-life
    found = module(facts)[0].detach()
    torch.testing.assert_close(found, torch.log1p(torch.tensor([3.0, 1.0]) / (0.1 * SMOOTHING)))
    module.scale.data += 0.5 / 20
    torch.testing.assert_close(module(facts)[0].detach(), 1.5 * found)
