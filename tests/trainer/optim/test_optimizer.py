"""Adam of the dense weights: torch's own, without torch's compiler."""

from __future__ import annotations

import sys

import pytest
import torch

from hsnn.trainer.training.learner import Learner


def test_it_steps_as_torch_does_and_loads_no_compiler(config, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner(config)
    ours, weights = learner.network.optimizer, list(learner.network.monn.parameters())
    copies = [weight.detach().clone().requires_grad_() for weight in weights]
    place = {id(weight): number for number, weight in enumerate(weights)}
    groups = [
        {"params": [copies[place[id(weight)]] for weight in group["params"]], "lr": group["lr"]}
        for group in ours.adam.param_groups
    ]
    theirs = torch.optim.Adam(groups, fused=True)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # importing it fails
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=noise)
        ours.apply()
        ours.load_state_dict(ours.state_dict())
    monkeypatch.undo()
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        for copy in copies:
            copy.grad = torch.randn(copy.shape, generator=noise)
        theirs.step()
    assert all(torch.equal(weight, copy) for weight, copy in zip(weights, copies, strict=True))


def test_it_says_how_far_the_weights_moved(config) -> None:
    optimizer = Learner(config).network.optimizer
    for rate, low, high in ((1e-3, 0.9e-3, 1e-3), (0.0, 0.0, 0.0)):
        optimizer.set_rates(rate, rate)
        before = optimizer.moved
        for group in optimizer.adam.param_groups:
            for weight in group["params"]:
                weight.grad = torch.ones_like(weight)
        optimizer.apply()
        # the first step of Adam has the length of its rate
        assert low * 0.99 <= optimizer.moved - before <= high * 1.01
