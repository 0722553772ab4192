"""The contract of signals: what is measured per window of the stream, and how a file declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hsnn.monitoring.observation import Observation

Direction = Literal["up", "down", "both"]
"""In which direction a shift of a signal is worth an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One measured quantity.

    Attributes
    ----------
    name
        Also the kind of its alarms.
    meaning
        What it measures, with its unit; for alarms and reports.
    worse
        Direction of a shift that raises an alarm.
    floor
        Smallest spread that it is judged by, in its unit: below that all is noise, however steady the stream.
    detector
        Change test of `hsnn.monitoring.change_tests`; the configuration may name another.
    seasonal
        Whether it follows the hour of the day: it is then compared with the same hour of yesterday and last week, too.
    slow
        Whether a shift by half of the effect is worth an alarm, too, once it has lasted for a dozen windows.
    histogram
        Whether a window's value is a mapping of names to counts; the series is then its PSI against those before.
    """

    name: str
    meaning: str
    worse: Direction
    floor: float
    detector: str = "adwin"
    seasonal: bool = False
    slow: bool = False
    histogram: bool = False


Value = float | Mapping[str, float]
"""Of a signal in a window: a number (NaN: nothing was measured), or counts by name."""


class SignalGroup(Protocol):
    """Accumulates the signals of one part of the system over a window.

    Deterministic: depends on the observations alone. `close` must not cost more than a step's hundredth.
    """

    def update(self, observation: Observation) -> None:
        """Add a batch to the open window."""

    def close(self, observation: Observation) -> Mapping[str, Value]:
        """Return the window's values by name of signal, and begin the next window; `observation` is its last batch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the open window, bounded in size, as plain values for the checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""


@dataclass(frozen=True, slots=True)
class GroupDeclaration:
    """Declaration of a group. A module of `hsnn.monitoring.signals` has one as `GROUP`; nothing else names it."""

    create: Callable[[], SignalGroup]
    signals: tuple[Signal, ...]


class Sums:
    """Running sums of a window by name, the state of most groups.

    Examples
    --------
    >>> sums = Sums()
    >>> sums.add(events=3, clicks=1)
    >>> sums.share("clicks", "events"), sums.share("clicks", "absent"), sums.share("clicks", "events", least=4)
    (0.3333333333333333, nan, nan)
    """

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def add(self, **amounts: float) -> None:
        """Add to the sums."""
        for name, amount in amounts.items():
            self.values[name] = self.values.get(name, 0.0) + float(amount)

    def share(self, part: str, whole: str, *, least: float = 0.0) -> float:
        """Return one sum over another; NaN where the latter is nothing, or less than `least`."""
        total = self.values.get(whole, 0.0)
        return self.values.get(part, 0.0) / total if total and total >= least else float("nan")

    def clear(self) -> None:
        """Begin the next window."""
        self.values = {}

    def state_dict(self) -> dict[str, float]:
        """Return the sums of the open window."""
        return dict(self.values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.values = {name: float(value) for name, value in state.items()}
