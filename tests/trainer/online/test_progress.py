from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hsnn.monitoring.config import LossDriftConfig, MixDriftConfig, MonitoringConfig
from hsnn.streaming.schema.batch import LabelledImpressions
from hsnn.trainer.metrics import JUDGED, OFF_TIME, PENDING
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.online.progress import TrainingProgress, note_off_time
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import StepReport


def test_every_event_is_accounted_for_once(world):
    progress = TrainingProgress()
    batch = dataclasses.replace(world.batch(10), dead_lettered=2, dropped={"duplicate": 3})
    progress.count(batch, StepReport(2.0, 1.0, 10))
    progress.count(batch, StepReport(float("nan"), 1.0, 0, unsafe=10))
    dropped = {"duplicate": 6, "unsafe_step": 10}
    assert progress.state_dict() == {"trained": 10, "impressions": 0, "dead_lettered": 4, "dropped": dropped}
    assert progress.loss == 2.0


def test_impressions_are_trained_with_the_batch_that_judges_them(world):
    progress = TrainingProgress()
    batch = dataclasses.replace(world.batch(10), impressions=4)
    progress.count(batch, StepReport(2.0, 1.0, 10))
    progress.count(batch, StepReport(float("nan"), 1.0, 0, unsafe=10))
    progress.count(dataclasses.replace(world.clicks([], []), impressions=3), StepReport(float("nan"), float("nan"), 0))
    state = progress.state_dict()
    assert (state["trained"], state["impressions"], state["dropped"]) == (17, 7, {"unsafe_step": 14})


def test_events_of_wrong_clocks_are_counted_by_side(world):
    clicks = world.batch(6)
    ts = clicks.watermark + np.array([-3_600_001, -600_000, 0, 600_000, 600_001, 172_800_000])
    batch = dataclasses.replace(clicks, engagements=dataclasses.replace(clicks.engagements, ts=ts))
    before = [OFF_TIME.labels(side)._value.get() for side in ("behind", "ahead")]
    note_off_time(batch, 600_000)
    after = [OFF_TIME.labels(side)._value.get() for side in ("behind", "ahead")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2]


def test_what_the_joiner_did_is_in_the_metrics(world):
    none = LabelledImpressions.empty(2)
    judged = dataclasses.replace(
        none, ts=np.arange(5), decided_at=np.arange(5), user=["u"] * 5, item=["a"] * 5, labels=np.zeros((5, 2))
    )
    before = [JUDGED.labels(when)._value.get() for when in ("due", "early")]
    batch = dataclasses.replace(world.batch(10), labelled_impressions=judged, early=2, late_actions=1, pending=8)
    progress = TrainingProgress()
    progress.count(batch, StepReport(2.0, 1.0, 10))
    assert (progress.labelled, progress.labelled_early, progress.late_actions) == (5, 2, 1)
    after = [JUDGED.labels(when)._value.get() for when in ("due", "early")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [3, 2]
    assert PENDING._value.get() == 8


def test_a_restart_goes_on_counting(world):
    progress, again = TrainingProgress(), TrainingProgress()
    progress.count(dataclasses.replace(world.batch(10), dropped={"x": 1}), StepReport(2.0, 1.0, 10))
    again.load_state_dict(progress.state_dict())
    assert again.state_dict() == progress.state_dict()
    assert again.rate == 0.0  # what was learned before the restart is no speed
    again.count(world.batch(5), StepReport(1.0, 1.0, 5))
    assert again.state_dict()["trained"] == 15
    assert progress.state_dict()["trained"] == 10
    assert again.rate > 0


def test_the_loss_is_a_running_mean(world):
    progress = TrainingProgress()
    for loss in (4.0, 2.0):
        progress.count(world.batch(4), StepReport(loss, loss / 2, 4))
    assert (progress.loss, progress.node_loss) == (pytest.approx(3.96), pytest.approx(1.98))


QUICK = MonitoringConfig(loss_drift=LossDriftConfig(warm_up=5), mix_drift=MixDriftConfig(window=64, warm_up=4))


@pytest.fixture
def shifted(config, new_world):
    """Reports of a stream whose users change their taste after 150 batches, and the watch's alarms."""

    def follow(watch: DriftMonitor, start: int = 0, stop: int = 240) -> list[tuple[int, str]]:
        world, learner, raised = new_world(), Learner(config), []
        for number in range(stop):
            batch = world.batch(32)
            if number >= 150:
                batch = world.clicks(batch.engagements.user, [f"new{number % 7}-{n}" for n in range(32)])
            observe = begin_observation(learner, batch, learner.prepare(batch))
            if number >= start:
                loss = 2.0 + 0.01 * (number % 3) + (3.0 if number >= 150 else 0.0)
                raised += [(number, alarm.kind) for alarm in watch.update(observe(StepReport(loss, 0.0, 32)))]
        return raised

    return follow


@pytest.mark.slow
def test_a_shift_raises_both_alarms_and_a_quiet_stream_none(shifted):
    raised = shifted(DriftMonitor(QUICK))
    assert {kind for _, kind in raised} == {"loss_drift", "mix_drift"}
    assert all(150 <= number < 175 for number, _ in raised[:2])
    assert shifted(DriftMonitor(QUICK), stop=150) == []


@pytest.mark.slow
def test_a_watch_goes_on_after_a_restart_as_if_nothing_had_happened(shifted, config, new_world):
    whole = shifted(DriftMonitor(QUICK))
    first, second = DriftMonitor(QUICK), DriftMonitor(QUICK)
    assert shifted(first, stop=120) == []
    second.load_state_dict(first.state_dict())
    assert shifted(second, start=120) == whole


def test_a_batch_without_events_says_nothing(config, world):
    learner, watch = Learner(config), DriftMonitor(QUICK)
    before, empty, report = watch.state_dict(), world.clicks([], []), StepReport(float("nan"), float("nan"), 0)
    assert watch.update(begin_observation(learner, empty, learner.prepare(empty))(report)) == []
    assert watch.state_dict() == before
