"""What ADWIN on the loss must not take for drift, and how it forgets."""

import numpy as np

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import LossDriftConfig
from hsnn.monitoring.drift.loss import LossDrift


def run(losses: np.ndarray, config: LossDriftConfig | None = None) -> list[Alarm]:
    drift = LossDrift(config or LossDriftConfig())
    return [alarm for ts, loss in enumerate(losses) if (alarm := drift.update(float(loss), ts))]


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 0.2, n)


def test_a_model_that_learns_raises_none() -> None:
    learning = 3.0 + 4.0 * np.exp(-np.arange(1000) / 100)
    assert run(learning + noise(1000)) == []
    assert run(np.where(np.arange(1000) < 500, 6.0, 4.0) + noise(1000)) == []


def test_a_rise_too_small_to_matter_raises_none() -> None:
    rising = np.where(np.arange(2000) < 1000, 5.0, 5.2) + noise(2000)
    assert run(rising) == []
    assert len(run(rising, LossDriftConfig(min_rise=0.01))) == 1


def test_a_loss_that_is_not_finite_is_passed_over() -> None:
    losses = 5.0 + noise(400)
    broken = losses.copy()
    broken[[100, 200]] = np.nan, np.inf
    drift = LossDrift(LossDriftConfig())
    assert all(drift.update(float(loss), ts) is None for ts, loss in enumerate(broken))
    assert len(drift.state_dict()["losses"]) == 398


def test_switched_off_it_keeps_nothing() -> None:
    drift = LossDrift(LossDriftConfig(enabled=False))
    assert [drift.update(loss, 0) for loss in [1.0] * 200 + [9.0] * 200] == [None] * 400
    assert drift.state_dict()["losses"] == []


def test_a_shift_is_found_after_the_memory_was_cut() -> None:
    losses = np.where(np.arange(1000) < 700, 5.0, 6.5) + noise(1000)
    raised = run(losses, LossDriftConfig(memory=64))
    assert [alarm.ts for alarm in raised] == [722]
