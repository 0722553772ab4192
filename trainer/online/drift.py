"""Drift monitoring in the trainer: the detectors of `hsnn.monitoring.drift`, and the quality gate."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.detector import BatchSignals, Detector, DetectorDeclaration
from hsnn.monitoring.discovery import load_modules
from hsnn.monitoring.gate import QualityGate
from hsnn.monitoring.metrics import ALARMS
from hsnn.trainer.metrics import HELD
from hsnn.trainer.training.prepared import PreparedBatch, StepReport

_log = logging.getLogger(__name__)

# Key of the gate's state in a checkpoint, beside the names of the detectors.
_GATE = "gate"


class DriftMonitor:
    """Feed every batch to the detectors; depends on the log alone, so that a replay raises the same alarms."""

    def __init__(self, config: MonitoringConfig) -> None:
        self._gate = QualityGate(config.gate)
        self._declared: dict[str, DetectorDeclaration[Any]] = {
            name: module.DETECTOR for name, module in load_modules("hsnn.monitoring.drift").items()
        }
        self._detectors: dict[str, Detector[Any]] = {
            name: declared.create(config) for name, declared in self._declared.items()
        }

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
            signals = BatchSignals(report.loss, prepared.items)
            for name, detector in self._detectors.items():
                raised.append(detector.update(self._declared[name].signal(signals), ts))
        alarms = [alarm for alarm in raised if alarm is not None]
        for alarm in alarms:
            ALARMS.labels(alarm.kind).inc()
            _log.warning("%s: %s", alarm.kind, alarm.detail)
        return alarms

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all detectors and of the gate, for the checkpoint."""
        states = {name: detector.state_dict() for name, detector in self._detectors.items()}
        return states | {_GATE: self._gate.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`; a detector that was added since then starts anew."""
        self._gate.load_state_dict(state[_GATE])
        for name, detector in self._detectors.items():
            if name in state:
                detector.load_state_dict(state[name])
            else:
                _log.warning("detector %s is not in the checkpoint: it starts anew", name)
