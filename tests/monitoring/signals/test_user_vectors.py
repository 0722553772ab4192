"""How far a window moves the mean of the users' vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals.user_vectors import GROUP


def mean(*vector: float) -> Observation:
    """A batch after which the running mean is this."""
    return Observation(ts=1, model=ModelFigures(loss=1.0), mean_user=lambda: np.array(vector, np.float32))


def test_the_move_is_relative_to_the_length_of_the_mean(close_window: Any) -> None:
    group = GROUP.create()
    assert math.isnan(close_window(group, mean(3.0, 4.0))["users_vector_shift"]), "nothing to compare with"
    assert close_window(group, mean(3.0, 4.5))["users_vector_shift"] == pytest.approx(math.log(0.1))
    assert close_window(group, mean(3.0, 4.5))["users_vector_shift"] == pytest.approx(math.log(1e-6))


def test_without_a_model_there_is_no_value(close_window: Any) -> None:
    group = GROUP.create()
    for _ in range(2):
        assert math.isnan(close_window(group, Observation(ts=1, model=ModelFigures(loss=1.0)))["users_vector_shift"])
