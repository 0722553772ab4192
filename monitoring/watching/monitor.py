"""SignalMonitor: all signals of a stream, window by window, each with its watch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from prometheus_client import Gauge

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import DriftConfig
from hsnn.monitoring.discovery import load_modules, module_names
from hsnn.monitoring.errors import HsnnError
from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.segments import Segments
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, SignalGroup, Value
from hsnn.monitoring.watching.watch import Watch

_log = logging.getLogger(__name__)

SIGNALS_PACKAGE, TESTS_PACKAGE = "hsnn.monitoring.signals", "hsnn.monitoring.change_tests"
"""Packages whose modules are the groups of signals, and the change tests."""

RECENT_VALUES = 12
"""Last values of a signal in the trainer's progress: what an action's effect is measured by."""

SIGNAL = Gauge("hsnn_signal", "Value of a drift signal in the last window.", ["signal"])

_gauge_of = cache(SIGNAL.labels)  # its look-up takes longer than setting it

# Key of the window's own state among those of the groups.
_WINDOW = "window"

# A window with so many items that appeared or changed per event is called an import of the catalogue.
_IMPORT_PER_EVENT = 0.5

# Windows after which what happened beside the signals is no likely cause any more: a shift is found within these.
_ALSO_WINDOWS = 8


class DriftConfigError(HsnnError):
    """The configuration names a signal or a detector that does not exist."""


def declared_groups() -> dict[str, GroupDeclaration]:
    """Return the groups of signals by the name of their module."""
    return {name: module.GROUP for name, module in load_modules(SIGNALS_PACKAGE).items()}


class SignalMonitor:
    """Measures the signals of a stream per window, and watches them.

    Raises
    ------
    DriftConfigError
        The configuration names a signal or a detector that does not exist.
    """

    def __init__(self, config: DriftConfig) -> None:
        self._config, self._declared = config, declared_groups()
        self._groups: dict[str, SignalGroup] = {name: group.create() for name, group in self._declared.items()}
        signals = {signal.name for group in self._declared.values() for signal in group.signals}
        if unknown := sorted(set(config.signals) - signals):
            raise DriftConfigError(
                f"monitoring.drift.signals names {', '.join(unknown)}; the signals are {', '.join(sorted(signals))}"
            )
        self._watches: dict[str, dict[str, Watch]] = {
            name: {signal.name: self._watch(signal) for signal in group.signals if self._enabled(signal)}
            for name, group in self._declared.items()
        }
        self._segments = Segments()
        self._events = self._windows = 0
        self._also: list[list[Any]] = []  # window, what happened in it

    def update(self, observation: Observation) -> list[Alarm]:
        """Add a batch; return the alarms that the end of a window raises."""
        if not self._config.enabled:
            return []
        for group in self._groups.values():
            group.update(observation)
        self._segments.update(observation)
        if observation.commands:
            self._note(f"{observation.commands} command(s) of the control topic")
        self._events += len(observation.items)
        if self._events < self._config.window:
            return []
        return self._close(observation)

    def recent(self) -> dict[str, list[tuple[int, float]]]:
        """Return the last values of every signal, each with the end of its window, epoch ms; oldest first."""
        watches = [watch for group in self._watches.values() for watch in group.values()]
        return {watch.kind: recent for watch in watches if (recent := watch.recent(RECENT_VALUES))}

    @property
    def windows(self) -> int:
        """Windows that ended so far."""
        return self._windows

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states by group, and of the window itself."""
        states: dict[str, dict[str, Any]] = {
            name: {
                "group": group.state_dict(),
                "watches": {signal: watch.state_dict() for signal, watch in self._watches[name].items()},
            }
            for name, group in self._groups.items()
        }
        window = {"events": self._events, "windows": self._windows, "also": list(self._also)}
        return states | {_WINDOW: window | {"segments": self._segments.state_dict()}}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore `state_dict`; what is not in it starts anew."""
        for name, group in self._groups.items():
            if name not in states:
                _log.warning("signals of %s are not in the checkpoint: they start anew", name)
                continue
            group.load_state_dict(states[name]["group"])
            for signal, watch in self._watches[name].items():
                if signal in states[name]["watches"]:
                    watch.load_state_dict(states[name]["watches"][signal])
        window = states.get(_WINDOW)
        if window is not None:
            self._events, self._windows = int(window["events"]), int(window["windows"])
            self._also = [[int(number), str(text)] for number, text in window["also"]]
            self._segments.load_state_dict(window["segments"])

    def _close(self, observation: Observation) -> list[Alarm]:
        self._segments.close()
        self._windows += 1
        alarms: list[Alarm] = []
        values = {name: group.close(observation) for name, group in self._groups.items()}
        arrivals = values.get("items", {}).get("items_arrivals", 0.0)
        if isinstance(arrivals, float) and arrivals >= _IMPORT_PER_EVENT:
            self._note(f"catalogue import: {arrivals * self._events:,.0f} items appeared or changed")
        for name, watches in self._watches.items():
            for signal, watch in watches.items():
                value = values[name][signal]
                _show(signal, value)
                if (alarm := watch.update(value, observation.ts)) is not None:
                    alarms.append(alarm)
        self._events = 0
        self._also = [[window, text] for window, text in self._also if self._windows - window < _ALSO_WINDOWS]
        if not alarms:
            return []
        segment, also = self._segments.moved_most(), tuple(dict.fromkeys(text for _, text in self._also))
        return [msgspec.structs.replace(alarm, segment=segment, also=also) for alarm in alarms]

    def _note(self, text: str) -> None:
        self._also.append([self._windows, text])

    def _enabled(self, signal: Signal) -> bool:
        own = self._config.signals.get(signal.name)
        return own is None or own.enabled

    def _watch(self, signal: Signal) -> Watch:
        own, config = self._config.signals.get(signal.name), self._config.watch
        detector = signal.detector
        if own is not None:
            changed = own.model_dump(include={"effect", "persistence", "cool_down"}, exclude_none=True)
            config, detector = config.model_copy(update=changed), own.detector or detector
        if detector not in module_names(TESTS_PACKAGE):
            raise DriftConfigError(
                f"monitoring.drift.signals.{signal.name}.detector is {detector!r}; the detectors are "
                f"{', '.join(module_names(TESTS_PACKAGE))}"
            )
        return Watch(signal, config, load_modules(TESTS_PACKAGE)[detector].create)


def _show(signal: str, value: Value) -> None:
    if isinstance(value, float):
        _gauge_of(signal).set(value)
