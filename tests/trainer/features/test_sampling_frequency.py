"""logQ: the estimate, and above all its sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsnn.trainer.features.sampling_frequency import StreamingFrequency
from hsnn.trainer.modules.losses import sampled_softmax_losses

BATCH, ITEMS = 64, 200


def learned(
    weights: np.ndarray, batches: int, half_life: float = 5000.0, seed: int = 0
) -> tuple[StreamingFrequency, int]:
    rng, frequency = np.random.default_rng(seed), StreamingFrequency(half_life)
    for number in range(batches):
        frequency.update(rng.choice(len(weights), BATCH, p=weights), number * BATCH)
    return frequency, batches * BATCH


@pytest.mark.slow
def test_the_estimate_converges_to_the_probability_of_being_a_candidate():
    weights = 1 / (1 + np.arange(ITEMS))
    weights /= weights.sum()
    uniform, rows = 8, np.arange(ITEMS)
    truth = 1 - (1 - weights) ** BATCH * (1 - 1 / ITEMS) ** uniform
    estimates = []
    for seed in range(20):
        frequency, events = learned(weights, 400, seed=seed)
        estimates.append(np.exp(frequency.log_q(rows, events, BATCH, uniform, ITEMS)))
    np.testing.assert_allclose(np.log(np.mean(estimates, axis=0)), np.log(truth), atol=0.1)


def test_an_item_never_seen_is_drawn_uniformly_at_least():
    frequency, events = learned(np.full(10, 0.1), 50)
    frequency.reserve(2000)
    unseen, seen = np.exp(frequency.log_q(np.array([1500, 3]), events, BATCH, 20, 2000))
    assert 20 / 2000 < unseen < 0.05 < seen


def test_the_estimate_forgets():
    frequency = StreamingFrequency(half_life=100.0)
    frequency.update(np.zeros(50, np.int64), 0)
    before = frequency.log_q(np.array([0]), 50, BATCH, 1, 1000)[0]
    frequency.update(np.ones(50, np.int64), 1000)
    assert frequency.log_q(np.array([0]), 1050, BATCH, 1, 1000)[0] < before - 1


def test_counting_is_by_event_not_by_batch():
    """The same events in batches of 1 and of 20: the same counts, but for the decay within a batch."""
    rows = np.random.default_rng(0).integers(5, size=200)
    one, twenty = StreamingFrequency(1e9), StreamingFrequency(1e9)
    for at in range(200):
        one.update(rows[at : at + 1], at)
    for at in range(0, 200, 20):
        twenty.update(rows[at : at + 20], at)
    np.testing.assert_allclose(one.counts[:5], np.bincount(rows, minlength=5), rtol=1e-5)
    np.testing.assert_allclose(twenty.counts[:5], one.counts[:5], rtol=1e-5)


def test_log_q_is_subtracted():
    """A candidate drawn e times as often must score one nat more for the same loss: its logit is corrected DOWN."""
    logits, log_q = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1.0, 0.0, -1.0])
    expected = -torch.log_softmax(torch.tensor([[1.0, 1.0, 1.0]]), 1)[0, 1]
    assert sampled_softmax_losses(logits, log_q, torch.tensor([1])) == pytest.approx(float(expected))


def test_a_frequent_negative_is_pushed_down_less():
    logits = torch.zeros(1, 3, requires_grad=True)
    log_q = torch.tensor([0.0, 1.0, -1.0])  # the target, a frequent negative, a rare one
    sampled_softmax_losses(logits, log_q, torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    target, frequent, rare = logits.grad[0].tolist()
    assert target < 0 < frequent < rare


@pytest.mark.slow
@pytest.mark.parametrize("corrected", [True, False])
def test_with_the_correction_scores_become_preferences_and_without_it_they_do_not(corrected):
    """A world whose sampler shows item 0 ten times as often as the others; users click by known probabilities.

    Softmax over a sample learns log p(click) with logQ, and log p(click) / q(drawn) without it.
    """
    rng = np.random.default_rng(0)
    click = torch.tensor([0.4, 0.3, 0.2, 0.1])
    drawn = np.array([0.95, 0.1, 0.1, 0.1])  # probability of being among the negatives
    log_q = torch.from_numpy(np.log(drawn)).float() if corrected else torch.zeros(4)
    scores = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.02)
    average = torch.zeros(4)
    for step in range(1000):
        absent = torch.from_numpy(rng.random(4) >= drawn) & ~torch.eye(4, dtype=torch.bool)  # a target is always there
        logits = torch.where(absent, -torch.inf, scores)  # (4 targets, 4 candidates)
        optimiser.zero_grad()
        (sampled_softmax_losses(logits, log_q, torch.arange(4)) * click).sum().backward()
        optimiser.step()
        average += scores.detach() if step >= 500 else 0
    order = average.argsort(descending=True).tolist()
    assert (order == [0, 1, 2, 3]) is corrected
    assert (order[-1] == 0) is not corrected
