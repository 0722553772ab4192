"""The shuffled index equals the served one except for the assignment of items to nodes."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.baselines.shuffled_index import ShuffledIndexBaseline
from hsnn.evaluation.harness.offline_system import OfflineSystem


def follow(config, data, batches: int, **schedule) -> tuple[OfflineSystem, ShuffledIndexBaseline, list[bool]]:
    system, shuffled, flips = OfflineSystem(config, **schedule), ShuffledIndexBaseline(config.model.nodes), []
    for _, batch in zip(range(batches), data.batches(64), strict=False):
        _, state, deltas, flipped = system.learn(system.prepare(batch))
        if system.mirror.loaded:
            shuffled.follow(system.mirror.state, state, deltas, flipped)
        flips.append(flipped)
        if flipped:
            assert shuffled.leaves.sizes.tolist() == system.mirror.state.index.leaves.sizes.tolist()
    return system, shuffled, flips


@pytest.mark.slow
def test_nodes_keep_their_sizes_and_items_do_not_keep_their_nodes(config, new_data):
    system, shuffled, flips = follow(config, new_data(3000), 40, snapshot_every=0.0, snapshot_events=512)
    assert sum(flips) >= 3
    own = system.mirror.state.index.leaves
    held = np.flatnonzero(own.node_of >= 0)
    assert len(held) > 90
    assert (shuffled.leaves.node_of[held] == own.node_of[held]).mean() < 0.5


@pytest.mark.slow
def test_it_holds_the_same_items_with_the_same_traffic(config, new_data):
    """Arrivals and departures between versions, changed states, and another half-life."""
    config = config.model_copy(update={"expire_after_idle": 400.0})
    system, shuffled, _ = follow(config, new_data(4000, drifting=True), 60, snapshot_every=0.0, snapshot_events=1500)
    assert system.expired > 20
    assert system.mirror.state.half_life == system.learner.half_life
    own = system.mirror.state.index.leaves
    held = np.flatnonzero(own.node_of >= 0)
    assert np.flatnonzero(shuffled.leaves.node_of >= 0).tolist() == held.tolist()
    assert shuffled.leaves.log_mass[held].tolist() == own.log_mass[held].tolist()
