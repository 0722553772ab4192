"""The gate closes at a cliff, opens again by itself, and stays open otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import GateConfig
from hsnn.monitoring.gate import QualityGate

CONFIG = GateConfig(recent=400, usual=10_000, patience=200, warm_up=2000)
BATCH = 100


def run(gate: QualityGate, losses: list[float], start: int = 0) -> list[Alarm | None]:
    return [gate.update(loss, BATCH, start + at) for at, loss in enumerate(losses)]


def kinds(alarms: list[Alarm | None]) -> list[tuple[str, int]]:
    return [(alarm.kind, alarm.ts) for alarm in alarms if alarm]


def test_it_closes_after_a_cliff_and_opens_after_the_recovery():
    gate = QualityGate(CONFIG)
    assert kinds(run(gate, [5.0] * 100)) == []
    ((kind, closed),) = kinds(run(gate, [8.0] * 10, 100))
    assert (kind, closed) == ("quality_cliff", 102)
    assert "for 200 events beyond" in gate.reason
    assert "20% above the usual" in gate.reason
    ((kind, opened),) = kinds(run(gate, [5.0] * 20, 110))
    assert kind == "quality_recovered"
    assert 110 < opened < 120
    assert gate.reason == ""


def test_the_alarms_say_what_happens():
    gate = QualityGate(CONFIG)
    run(gate, [5.0] * 50)
    alarm = next(filter(None, run(gate, [9.0] * 10)))
    assert alarm.value > alarm.threshold
    assert alarm.detail.startswith("snapshots are held back: the loss of new events is ")
    back = next(filter(None, run(gate, [5.0] * 30, 10)))
    assert back.detail.startswith("snapshots are published again")
    assert back.value < back.threshold


def test_a_dent_that_is_over_before_the_patience_is_none():
    gate = QualityGate(CONFIG)
    assert kinds(run(gate, [5.0] * 50 + [8.0, *[5.0] * 5] * 20)) == []


def test_a_loss_that_is_not_finite_is_the_worst_there_is():
    gate = QualityGate(CONFIG)
    run(gate, [5.0] * 50)
    assert kinds(run(gate, [float("nan")] * 50)) == [("quality_cliff", 1)]
    assert "is not finite" in gate.reason
    assert kinds(run(gate, [5.0])) == [("quality_recovered", 0)]


def test_a_young_model_may_be_as_bad_as_it_is():
    assert kinds(run(QualityGate(CONFIG), [1.0] * 5 + [9.0] * 15)) == []


def test_what_lasts_is_the_new_usual():
    gate = QualityGate(CONFIG)
    alarms = run(gate, [5.0] * 100 + [8.0] * 2000)
    assert [kind for kind, _ in kinds(alarms)] == ["quality_cliff", "quality_recovered"]


def test_losses_of_any_sign_and_noise_leave_it_open():
    for level in (0.5, 5.0, -5.0):
        noise = np.random.default_rng(0).normal(level, 0.05 * abs(level), 3000).tolist()
        assert kinds(run(QualityGate(CONFIG), noise)) == []


def test_switched_off_it_is_open():
    off = QualityGate(CONFIG.model_copy(update={"enabled": False}))
    assert kinds(run(off, [5.0] * 50 + [50.0] * 50)) == []
    closed = QualityGate(CONFIG)
    run(closed, [5.0] * 50 + [50.0] * 50)
    assert closed.reason
    off.load_state_dict(closed.state_dict())
    assert off.reason == ""


@pytest.mark.parametrize("warm_up", [0, 2000])
@given(cut=st.integers(0, 180), seed=st.integers(0, 99))
def test_a_restart_anywhere_goes_on_alike(warm_up, cut, seed):
    rng = np.random.default_rng(seed)
    losses = np.concatenate([rng.normal(5, 0.3, 60), rng.normal(9, 0.3, 60), rng.normal(5, 0.3, 60)]).tolist()
    config = CONFIG.model_copy(update={"warm_up": warm_up})
    whole, first, second = QualityGate(config), QualityGate(config), QualityGate(config)
    expected = run(whole, losses)
    before = run(first, losses[:cut])
    second.load_state_dict(first.state_dict())
    assert before + run(second, losses[cut:], cut) == expected
    assert second.state_dict() == whole.state_dict()
