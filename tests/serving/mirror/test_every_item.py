from __future__ import annotations

import numpy as np
import pytest

from hsnn.serving.mirror.mirror import Mirror

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]


@pytest.fixture
def engine(plant) -> Mirror:
    mirror = Mirror(engine=True)
    plant.load(mirror)
    return mirror


def test_requests_of_one_time_share_states_until_something_changes(plant, engine):
    state = engine.state
    first = state.every_item(plant.now)
    assert state.every_item(plant.now) is first
    later = state.every_item(plant.now + 1)
    assert later is not first
    engine.apply_delta(plant.move(7, 3))
    assert state.every_item(plant.now + 1) is not later


def test_states_are_those_of_the_plain_path_by_place(plant, engine):
    state = engine.state
    every, plain = state.every_item(plant.now + 5000), state.item_vectors(plant.now + 5000)
    places = every.arrays.place[plain.rows]
    split = every.arrays.vectors.shape[1] - every.states.vectors.shape[1]
    assert every.arrays.vectors[places, :split] == pytest.approx(plain.vectors.vectors[:, :split])
    assert every.states.vectors[places] == pytest.approx(plain.vectors.vectors[:, split:], abs=1e-6)
    assert every.states.bias[places] == pytest.approx(plain.vectors.bias, abs=1e-6)
    assert np.isfinite(every.bounds.bias).any()
