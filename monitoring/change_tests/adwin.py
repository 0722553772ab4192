"""ADWIN (Bifet and Gavalda 2007): a window that is cut where the means of its two parts differ significantly."""

from __future__ import annotations

from river.drift import ADWIN

# Probability of a false cut, that of the paper: the watch asks for size and persistence before it raises an alarm.
_DELTA = 0.002

# Values of the newer part, at least: the persistence of a shift.
_SHORTEST = 3

# Factor of the values: ADWIN's bound has a term for values within [0, 1], which would hide a shift by a few spreads.
_SCALE = 3.0


class AdwinTest:
    """Detect a change of the mean, of any size and speed.

    Examples
    --------
    >>> test = AdwinTest()
    >>> [index for index in range(80) if test.update(4.0 * (index >= 50) + index % 2)]
    [54]
    """

    def __init__(self) -> None:
        # clock=1 looks for a cut at every value; the default of 32 would delay alarms by up to 32 windows.
        self._adwin = ADWIN(delta=_DELTA, clock=1, min_window_length=_SHORTEST)

    def update(self, value: float) -> bool:
        """Add a value; return whether the mean has changed."""
        self._adwin.update(_SCALE * value)
        return bool(self._adwin.drift_detected)


create = AdwinTest
