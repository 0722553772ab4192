"""Drift as the trainer sees it: detectors over its own prequential loss and the items it is shown, and the gate."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.drift import LossDrift, MixDrift
from hsnn.monitoring.gate import QualityGate
from hsnn.monitoring.metrics import ALARMS
from hsnn.trainer.metrics import HELD
from hsnn.trainer.training.prepared import PreparedBatch, StepReport

_log = logging.getLogger(__name__)


class DriftMonitor:
    """Feeds every batch to the detectors; depends on the log alone, so a replay raises the same alarms."""

    def __init__(self, config: MonitoringConfig) -> None:
        self._loss = LossDrift(config.loss_drift)
        self._mix = MixDrift(config.mix_drift)
        self._gate = QualityGate(config.gate)

    @property
    def hold_reason(self) -> str:
        """Why the model is not to be handed out now; empty if it may be."""
        return self._gate.reason

    def update(self, prepared: PreparedBatch, report: StepReport) -> list[Alarm]:
        """Alarms that this batch raises."""
        if len(prepared.items) == 0:  # repeats alone have no loss
            return []
        ts = int(prepared.ts.max())
        raised: list[Alarm | None] = [self._gate.update(report.loss, report.events + report.unsafe, ts)]
        HELD.set(bool(self.hold_reason))
        if report.events:
            raised += [self._loss.update(report.loss, ts), self._mix.update(prepared.items.tolist(), ts)]
        alarms = [alarm for alarm in raised if alarm is not None]
        for alarm in alarms:
            ALARMS.labels(alarm.kind).inc()
            _log.warning("%s: %s", alarm.kind, alarm.detail)
        return alarms

    def state_dict(self) -> dict[str, Any]:
        """Everything the detectors know, for the checkpoint."""
        return {name: detector.state_dict() for name, detector in self._detectors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the detectors that gave `state` would."""
        for name, detector in self._detectors():
            detector.load_state_dict(state[name])

    def _detectors(self) -> Iterator[tuple[str, LossDrift | MixDrift | QualityGate]]:
        yield from (("loss", self._loss), ("mix", self._mix), ("gate", self._gate))
