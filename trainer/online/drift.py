"""Drift monitoring in the trainer: detectors on prequential loss and item distribution, and the quality gate."""

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
    """Feed every batch to the detectors; depends on the log alone, so that a replay raises the same alarms."""

    def __init__(self, config: MonitoringConfig) -> None:
        self._loss = LossDrift(config.loss_drift)
        self._mix = MixDrift(config.mix_drift)
        self._gate = QualityGate(config.gate)

    @property
    def hold_reason(self) -> str:
        """Why snapshots are held back now; empty if they are published."""
        return self._gate.reason

    def update(self, prepared: PreparedBatch, report: StepReport) -> list[Alarm]:
        """Update the detectors with a trained batch; return the alarms it raises."""
        if len(prepared.items) == 0:  # a batch of duplicates has no loss
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
        """Return the state of all detectors, for the checkpoint."""
        return {name: detector.state_dict() for name, detector in self._detectors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        for name, detector in self._detectors():
            detector.load_state_dict(state[name])

    def _detectors(self) -> Iterator[tuple[str, LossDrift | MixDrift | QualityGate]]:
        yield from (("loss", self._loss), ("mix", self._mix), ("gate", self._gate))
