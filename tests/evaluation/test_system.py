"""Learner, scheduler and mirror together: the mirror's cross features are made of what the learner has."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.system import OfflineSystem


@pytest.mark.slow
def test_the_mirror_has_what_the_learner_has(config, new_data):
    crossed = config.model_copy(update={"model": config.model.model_copy(update={"cross": True})})
    system = OfflineSystem(crossed, snapshot_every=60.0, snapshot_events=512)
    for batch in new_data(2000, drifting=True).batches(64):
        system.learn(system.prepare(batch))
    assert system.versions > 1
    assert system.arrived > 0
    learner, held = system.learner, system.mirror.world.crossing
    rows, told, own = len(learner.items), held.pairs, learner.covisitation
    assert (own.neighbours >= 0).any()
    for name in ("neighbours", "weights", "totals", "last"):
        assert np.array_equal(getattr(told, name)[:rows], getattr(own, name)[:rows])
    indexed = np.flatnonzero(system.mirror.world.index.leaves.node_of[:rows] >= 0)
    assert np.array_equal(held.tokens[indexed], learner.items.tokens[indexed])
