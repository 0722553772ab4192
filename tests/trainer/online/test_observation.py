"""What monitoring reads of the model when a window closes is right, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.monitoring.observation import Observation
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.training.learner import Learner
from tests.trainer.conftest import SMALL, World, indexed


def trained(batches: int, *, read: bool) -> tuple[Learner, Observation]:
    """A learner after so many batches, and the last observation; all of them read, if asked for."""
    learner, world, seen = Learner(indexed(SMALL, seed_after=128)), World(), None
    for _ in range(batches):
        batch = world.batch(64)
        prepared = learner.prepare(batch)
        seen = begin_observation(learner, batch, prepared)(learner.train(prepared))
        assert seen is not None
        if read:
            _ = seen.node_cosines(), seen.node_vectors(), seen.mean_user()
    assert seen is not None
    return learner, seen


@pytest.mark.slow
def test_reading_the_model_leaves_training_as_it_is() -> None:
    plain, _ = trained(12, read=False)
    watched, _ = trained(12, read=True)
    expected = {name: array.tobytes() for name, array in plain.network.full_state().items()}
    assert {name: array.tobytes() for name, array in watched.network.full_state().items()} == expected


@pytest.mark.slow
def test_items_are_like_their_own_nodes_and_less_like_others() -> None:
    learner, seen = trained(24, read=False)
    node_of, cosines = learner.leaves.node_of[: len(learner.items)], seen.node_cosines()
    rows = np.flatnonzero(node_of >= 0)
    assert 0 < len(cosines) <= 64
    assert np.abs(cosines).max() < 1.001
    others = np.roll(node_of[rows], 1)
    apart = others != node_of[rows]
    elsewhere = learner.network.node_cosines(rows[apart], learner.items.tokens, others[apart])
    assert cosines.mean() > elsewhere.mean()


def test_before_there_are_nodes_there_are_no_cosines() -> None:
    _, seen = trained(1, read=True)
    assert len(seen.node_cosines()) == 0


def test_the_mean_user_moves_with_every_batch() -> None:
    _, first = trained(1, read=False)
    before = first.mean_user()
    _, second = trained(2, read=False)
    assert before.shape == second.mean_user().shape
    assert not np.array_equal(before, second.mean_user())
