"""Drift monitoring in the trainer: signals and their watches, detectors of single batches, and the quality gate."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.detector import Detector, DetectorDeclaration
from hsnn.monitoring.discovery import load_modules
from hsnn.monitoring.gate import QualityGate
from hsnn.monitoring.metrics import ALARMS
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.monitor import SignalMonitor
from hsnn.trainer.metrics import HELD

_log = logging.getLogger(__name__)

# Key of the gate's state in a checkpoint, beside the names of the detectors.
_GATE = "gate"

# Prefix of the keys of the signals' states, one per group: the digest of a checkpoint leaves out one of them.
_SIGNALS = "signals."


class DriftMonitor:
    """Feed every batch to the detectors; depends on the log alone, so that a replay raises the same alarms."""

    def __init__(self, config: MonitoringConfig) -> None:
        self._gate = QualityGate(config.gate)
        self._signals = SignalMonitor(config.drift)
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

    @property
    def windows(self) -> int:
        """Windows of signals that ended so far."""
        return self._signals.windows

    def recent_signals(self) -> dict[str, list[tuple[int, float]]]:
        """Return the last values of every signal, each with its time, epoch ms."""
        return self._signals.recent()

    def update(self, observation: Observation | None) -> list[Alarm]:
        """Update everything with a trained batch; return the alarms it raises.

        None, which is a batch of duplicates, has no loss and changes nothing.
        """
        if observation is None:
            return []
        seen, ts = observation, observation.ts
        raised: list[Alarm | None] = [self._gate.update(seen.loss, seen.events + seen.unsafe, ts)]
        HELD.set(bool(self.hold_reason))
        if seen.events:
            for name, detector in self._detectors.items():
                raised.append(detector.update(self._declared[name].signal(seen), ts))
        raised += self._signals.update(seen)
        alarms = [alarm for alarm in raised if alarm is not None]
        for alarm in alarms:
            ALARMS.labels(alarm.kind).inc()
            _log.warning("%s: %s", alarm.kind, alarm.detail)
        return alarms

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all detectors and of the gate, for the checkpoint."""
        states = {name: detector.state_dict() for name, detector in self._detectors.items()}
        states |= {f"{_SIGNALS}{name}": state for name, state in self._signals.state_dict().items()}
        return states | {_GATE: self._gate.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`; a detector that was added since then starts anew."""
        self._gate.load_state_dict(state[_GATE])
        self._signals.load_state_dict(
            {name.removeprefix(_SIGNALS): states for name, states in state.items() if name.startswith(_SIGNALS)}
        )
        for name, detector in self._detectors.items():
            if name in state:
                detector.load_state_dict(state[name])
            else:
                _log.warning("detector %s is not in the checkpoint: it starts anew", name)
