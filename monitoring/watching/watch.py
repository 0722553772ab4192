"""Watch: raise an alarm when a signal has shifted, stays shifted, and neither hour nor habit explains it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import WatchConfig
from hsnn.monitoring.detector import AlarmCoolDown
from hsnn.monitoring.watching.histogram import HistogramReference
from hsnn.monitoring.watching.season import SeasonalReference
from hsnn.monitoring.watching.shift import Shift, find_shift, needed_effect, spread_of
from hsnn.monitoring.watching.signal import Signal, Value

# Values kept: they hold what is usual. When there are so many, the older half is forgotten.
_KEPT = 256

# Windows of a stream's beginning, in which all is new, so that nothing in them is usual: they are forgotten once the
# baseline is known without them.
_BEGINNING = 16

# Windows after a change test fires, beyond the persistence, in which its shift may prove to last; and where a slow
# shift matters, which takes a dozen of them and is judged by half the effect then.
_PATIENCE, _PATIENCE_IF_SLOW = 8, 16

# Standardised values are cut here, so that one outlier is no change of a mean.
_CUT = 10.0

# Milliseconds of stream time in which a rhythm shows at all.
_DAY = 86_400_000

_SIGNS = {"up": 1, "down": -1, "both": 0}


class ChangeTest(Protocol):
    """Looks for changes in a series of numbers with median 0 and spread 1; deterministic."""

    def update(self, value: float) -> bool:
        """Add a value; return whether there was a change."""


class Watch:
    """Watch one signal, a value per window: a detector in the sense of `hsnn.monitoring.detector`.

    A change test looks at the standardised series. When it fires, the watch looks for the shift itself
    (`hsnn.monitoring.watching.shift`): it must be large beside the spread before it, larger than this series has
    shifted before, and last. A seasonal signal must differ from the same hour of yesterday and of last week, too, and
    is silent for a stream's first day. river's tests cannot be serialised: after a restart the kept values are fed to
    a new one, which happens without a restart, too, whenever the older half of the values is forgotten.

    Parameters
    ----------
    signal
    config
        With the signal's own settings applied.
    make_test
        Of the change test that the configuration chooses.

    Examples
    --------
    >>> from hsnn.monitoring.change_tests.adwin import create
    >>> signal = Signal(name="share", meaning="a share", worse="up", floor=0.1)
    >>> watch = Watch(signal, WatchConfig(), create)
    >>> alarms = [watch.update(index % 3 + 30.0 * (index >= 60), ts=index) for index in range(80)]
    >>> [(alarm.ts, alarm.since, alarm.before) for alarm in alarms if alarm]
    [(63, 60, 1.0)]
    """

    def __init__(self, signal: Signal, config: WatchConfig, make_test: Callable[[], ChangeTest]) -> None:
        self.kind, self._signal, self._config, self._make_test = signal.name, signal, config, make_test
        self._cool_down = AlarmCoolDown(config.baseline, config.cool_down)
        self._season = SeasonalReference()
        self._reference = HistogramReference()
        self._first_ts: int | None = None
        self._beginning = True  # the kept values hold the stream's beginning
        self._suspicion = 0  # windows in which the shift that the test fired at may still prove to last
        self._since = 0  # begin of the window in which the test began to fire, epoch ms
        self._start([], [])

    def update(self, value: Value, ts: int) -> Alarm | None:
        """Update with the value of a window that ended at `ts`, epoch ms; a window without a value is left out."""
        begin = self._ends[-1] if self._ends else ts
        number = self._number(value, begin, ts)
        if not math.isfinite(number):
            return None
        self._first_ts = ts if self._first_ts is None else self._first_ts
        self._cool_down.advance()
        self._append(number, begin, ts)
        alarm = self._judge(ts) if self._suspicion else None
        self._suspicion = max(self._suspicion - 1, 0)
        if self._signal.seasonal:
            self._season.add(number, begin=begin, ts=ts)
        if alarm is not None:
            self._beginning = False
        elif self._beginning and len(self._values) >= self._config.baseline + _BEGINNING and not self._suspicion:
            self._beginning = False
            self._start(self._values[_BEGINNING:], self._ends[_BEGINNING:])
        elif len(self._values) >= _KEPT:
            self._start(self._values[_KEPT // 2 :], self._ends[_KEPT // 2 :])
        return alarm

    def recent(self, count: int) -> list[tuple[int, float]]:
        """Return the ends, epoch ms, and the values of the last windows, at most `count`, oldest first."""
        return list(zip(self._ends[-count:], self._values[-count:], strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the kept values with their times, the references, and what is left of suspicion and cool-down."""
        return {
            "values": list(self._values),
            "ends": list(self._ends),
            "standard": list(self._standard),
            "first": self._first_ts,
            "beginning": self._beginning,
            "suspicion": self._suspicion,
            "since": self._since,
            "pause": self._cool_down.remaining,
            "season": self._season.state_dict(),
            "reference": self._reference.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`; the kept values are fed to a new test, by the standard of the old one."""
        self._values, self._ends = [float(value) for value in state["values"]], [int(end) for end in state["ends"]]
        centre, spread = state["standard"]
        self._standard = float(centre), float(spread)
        self._first_ts, self._beginning = state["first"], bool(state.get("beginning", False))
        self._suspicion, self._cool_down.remaining = int(state["suspicion"]), int(state["pause"])
        self._since = int(state.get("since", 0))  # younger than the others
        self._season.load_state_dict(state["season"])
        self._reference.load_state_dict(state["reference"])
        self._test = self._make_test()
        if self._standard[1]:
            for value in self._values:
                self._test.update(self._standardised(value))

    def _number(self, value: Value, begin: int, ts: int) -> float:
        """Return the number that a window adds to the series: of counts by name how far they are from the usual."""
        if isinstance(value, Mapping):
            since = self._since if self._suspicion else None
            return self._reference.compare(value, begin=begin, ts=ts, since=since)
        return float(value)  # no number of numpy: checkpoints hold plain values

    def _start(self, values: list[float], ends: list[int]) -> None:
        """Begin a series with the values of the past that still count."""
        self._values, self._ends, self._standard = values, ends, (0.0, 0.0)
        self._test = self._make_test()
        self._set_standard()

    def _set_standard(self) -> None:
        """Set what counts as 0 and as 1, once there are enough values, and feed these to the test."""
        if len(self._values) < self._config.baseline:
            return
        known = np.array(self._values)
        self._standard = float(np.median(known)), spread_of(known, self._signal.floor)
        for value in self._values:
            self._test.update(self._standardised(value))

    def _append(self, value: float, begin: int, ts: int) -> None:
        self._values.append(value)
        self._ends.append(ts)
        if not self._standard[1]:
            self._set_standard()
        elif self._test.update(self._standardised(value)):
            patience = _PATIENCE_IF_SLOW if self._signal.slow else _PATIENCE
            self._since = self._since if self._suspicion else begin
            self._suspicion = self._config.persistence + patience

    def _standardised(self, value: float) -> float:
        centre, spread = self._standard
        return min(max((value - centre) / spread, -_CUT), _CUT)

    def _judge(self, ts: int) -> Alarm | None:
        """Return an alarm if the series has shifted and stays so."""
        config, values = self._config, np.array(self._values)
        shift = find_shift(
            values,
            floor=self._signal.floor,
            effect=config.effect,
            persistence=config.persistence,
            sign=_SIGNS[self._signal.worse],
            slow=self._signal.slow,
        )
        if shift is None or not self._cool_down.expired() or self._is_season(shift, values, ts):
            return None
        since, signal = self._ends[shift.start], self._signal
        self._start(self._values[shift.start :], self._ends[shift.start :])
        self._suspicion = 0
        self._reference.forget()
        self._cool_down.restart()
        effect = config.effect
        if signal.slow:
            effect = needed_effect(effect, config.persistence, len(values) - shift.start)
        limit = shift.before + math.copysign(effect * shift.spread, shift.after - shift.before)
        return Alarm(
            id=f"{signal.name}:{ts}",
            kind=signal.name,
            ts=ts,
            value=shift.after,
            threshold=limit,
            detail=f"{signal.meaning}: {shift.before:.4g} before, {shift.after:.4g} since",
            since=since,
            before=shift.before,
        )

    def _is_season(self, shift: Shift, values: np.ndarray[Any, np.dtype[np.float64]], ts: int) -> bool:
        """Tell whether the stream's rhythm explains a shift, or is not known yet."""
        if not self._signal.seasonal or not self._config.seasonal:
            return False
        if ts - (self._first_ts or 0) < _DAY:
            return True
        persistence, ends = self._config.persistence, self._ends
        # What came since the shift is no reference. One that seems older than the test waits for is the rhythm itself.
        start = max(shift.start, len(ends) - persistence - _PATIENCE)
        before, far = min(self._since, ends[start - 1]), self._config.effect / 2 * shift.spread
        recent = zip(values[-persistence:].tolist(), ends[-persistence:], strict=True)
        return any(
            abs(value - usual) < far for value, end in recent for usual in self._season.expected(end, before=before)
        )
