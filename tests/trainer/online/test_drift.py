"""A detector is added by one file; its state is in checkpoints, and older checkpoints without it still load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsnn.monitoring.config import MonitoringConfig
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import StepReport
from tests.extensions import one_file_added

LIMIT = """
    from hsnn.monitoring.alarms import Alarm
    from hsnn.monitoring.detector import DetectorDeclaration

    class LossLimit:
        kind = "loss_limit"

        def __init__(self, limit):
            self.limit, self.seen = limit, 0

        def update(self, value, ts):
            self.seen += 1
            if value > self.limit:
                return Alarm(id=f"{self.kind}:{ts}", kind=self.kind, ts=ts, value=value, threshold=self.limit)

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    DETECTOR = DetectorDeclaration(lambda config: LossLimit(10.0), lambda signals: signals.loss)
    """


def test_a_detector_is_added_by_one_file(config: TrainerConfig, world: Any, tmp_path: Path) -> None:
    learner, batch = Learner(config), world.batch(8)
    observe = begin_observation(learner, batch, learner.prepare(batch))
    older = DriftMonitor(MonitoringConfig()).state_dict()
    with one_file_added("hsnn.monitoring.drift", tmp_path, "limit", LIMIT):
        monitor = DriftMonitor(MonitoringConfig())
        monitor.load_state_dict(older)
        raised = [monitor.update(observe(StepReport(loss, 0.0, 8))) for loss in (9.0, 11.0)]
        assert [[alarm.kind for alarm in alarms] for alarms in raised] == [[], ["loss_limit"]]
        assert monitor.state_dict()["limit"] == {"seen": 2}
        again = DriftMonitor(MonitoringConfig())
        again.load_state_dict(monitor.state_dict())
        assert again.state_dict() == monitor.state_dict()
    groups = {"model", "users", "user_vectors", "items", "index", "sources", "features", "pipeline", "clocks", "window"}
    assert set(older) == {"loss", "mix", "gate"} | {f"signals.{name}" for name in groups}


def test_how_far_the_weights_moved_has_the_same_bits_after_a_restart(config: TrainerConfig, world: Any) -> None:
    batch = world.batch(8)

    def step_size(moved_before: float) -> float:
        learner = Learner(config)
        learner.network.optimizer.moved = moved_before
        prepared = learner.prepare(batch)
        observe = begin_observation(learner, batch, prepared)
        seen = observe(learner.train(prepared))
        assert seen is not None
        return seen.model.step_size

    assert step_size(1234.5) == step_size(0.0) > 0
