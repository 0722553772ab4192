"""How well the model predicts events that it has not learned yet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals.model import GROUP


def learned(events: int, loss: float, **figures: Any) -> Observation:
    return Observation(ts=1, events=events, model=ModelFigures(loss=loss, **figures))


def test_losses_are_weighted_by_events(close_window: Any) -> None:
    values = close_window(GROUP, learned(30, 4.0, popularity_loss=5.0), learned(10, 8.0, popularity_loss=9.0))
    assert values["model_loss"] == 5.0
    assert values["model_popularity_gap"] == 1.0
    assert values["model_normalised_entropy"] == pytest.approx(5 / 6)


def test_what_was_not_measured_is_left_out(close_window: Any) -> None:
    values = close_window(GROUP, learned(30, 4.0, index_recall=0.5), learned(10, math.nan), learned(0, 99.0))
    assert values["model_loss"] == 4.0
    assert values["model_index_recall"] == 0.5
    assert math.isnan(values["model_normalised_entropy"])
    assert math.isnan(values["model_gradient_norm"])
    assert math.isnan(values["model_recall"])


def test_recall_is_of_the_first_fiftieth_of_the_candidates(close_window: Any) -> None:
    ranks = np.r_[np.zeros(20), np.full(30, 0.019), np.full(50, 0.02)].astype(np.float32)
    seen = Observation(
        ts=1,
        events=100,
        model=ModelFigures(loss=1.0, ranks=ranks),
        items=np.arange(100),
        unseen_items=np.arange(100) >= 40,  # 10 of 60 are found
        repeated=np.arange(100) < 24,  # too few to be measured
    )
    values = close_window(GROUP, seen)
    assert values["model_recall"] == 0.5
    assert values["model_fresh_recall"] == pytest.approx(10 / 60)
    assert math.isnan(values["model_memory_recall"])


def test_calibration_is_predicted_over_observed(close_window: Any) -> None:
    labels, probabilities = np.array([[1.0], [0.0]], np.float32), np.array([[0.5], [0.5]], np.float32)
    twice = learned(2, 1.0, labels=labels, probabilities=2 * probabilities)
    assert close_window(GROUP, learned(2, 1.0, labels=labels, probabilities=probabilities))["model_calibration"] == 0.0
    assert close_window(GROUP, twice)["model_calibration"] == pytest.approx(math.log(2))


def test_gradient_norms_are_averaged_on_a_log_scale(close_window: Any) -> None:
    batches = [learned(1, 1.0, gradient_norm=norm) for norm in (0.1, 10.0, 0.0, math.inf)]
    assert close_window(GROUP, *batches)["model_gradient_norm"] == pytest.approx(0.0)


def test_the_length_of_steps_is_averaged_before_its_log(close_window: Any) -> None:
    batches = [learned(1, 1.0, step_size=size) for size in (0.1, 0.3, math.nan)]
    assert close_window(GROUP, *batches)["model_step_size"] == pytest.approx(math.log(0.2))


def test_a_model_that_stands_still_has_a_step_size(close_window: Any) -> None:
    assert close_window(GROUP, learned(1, 1.0, step_size=0.0))["model_step_size"] < -20
    assert close_window(GROUP, learned(0, 1.0, step_size=0.0))["model_step_size"] < -20, "whose steps are refused"
