"""State vectors of a mirror that was updated are those of one that was loaded, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.serving.mirror.mirror import Mirror


@pytest.fixture
def plant(plant: Any) -> Any:
    rng = np.random.default_rng(0)
    for name, weight in plant.weights.items():
        if name.startswith("state_tower"):
            plant.weights[name] = rng.normal(0, 0.5, weight.shape).astype(np.float32)
    return plant


def vectors(mirror: Mirror, rows: int) -> np.ndarray:
    return mirror.state.index.state_vectors.values[:rows]


@pytest.mark.parametrize("engaged", [1, 3, 20])
def test_updated_equals_loaded_however_few_items_a_delta_has(plant, engaged):
    updated, loaded = Mirror(), Mirror()
    plant.load(updated)
    plant.state()
    before = vectors(updated, 60).copy()
    for number in range(engaged):
        plant.engage("x", f"c{number % 6}-{number // 6}")
    updated.apply_state(plant.state())
    updated.apply_delta(plant.add("new", 2))
    plant.load(loaded)
    after = vectors(updated, 61)
    assert after.tobytes() == vectors(loaded, 61).tobytes()
    assert (after[:60] != before).any(1).sum() == engaged


def test_a_new_half_life_changes_the_vectors_of_all_items(plant):
    updated, loaded = Mirror(), Mirror()
    plant.load(updated)
    plant.state()
    before = vectors(updated, 60).copy()
    plant.half_life = 5
    plant.engage("x", "c1-1")
    updated.apply_state(plant.state())
    plant.load(loaded)
    assert vectors(updated, 60).tobytes() == vectors(loaded, 60).tobytes()
    assert (vectors(updated, 60) != before).any(1).sum() >= 1
