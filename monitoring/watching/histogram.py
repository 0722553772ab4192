"""Population stability index of a window's counts against those before, or against the same hour of yesterday."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from hsnn.monitoring.drift.mix import psi

# Factor of the reference counts per window: an effective length of 1 / (1 - 0.9) = 10 windows.
_DECAY = 0.9

# Significance of the G-test: an index that chance explains counts as none, however few the events of a window.
_ALPHA = 1e-4

# Counts below which a name is forgotten.
_FORGOTTEN = 0.01

# Milliseconds of an hour, and hours of a day: the rhythm of users.
_HOUR, _HOURS = 3_600_000, 24


class HistogramReference:
    """Counts of the last windows, and of each hour of the day.

    Examples
    --------
    >>> reference = HistogramReference()
    >>> windows = [{"click": 90, "buy": 10}] * 3 + [{"click": 10, "buy": 90}]
    >>> [round(reference.compare(window, ts=index, keep=False), 2) for index, window in enumerate(windows)]
    [nan, 0.0, 0.0, 3.44]
    """

    def __init__(self) -> None:
        self._recent: dict[str, float] = {}
        self._hours: dict[int, tuple[int, dict[str, float]]] = {}  # hour of day -> absolute hour, counts

    def compare(self, counts: Mapping[str, float], ts: int, *, keep: bool) -> float:
        """Return the PSI of a window, the smaller one of both references; `keep` the recent one as it is.

        NaN for the first window.
        """
        hour = ts // _HOUR
        references = [self._recent] if self._recent else []
        stored = self._hours.get(hour % _HOURS)
        if references and stored is not None and stored[0] != hour:
            references.append(stored[1])
        found = min((_significant_psi(reference, counts) for reference in references), default=float("nan"))
        if not keep:
            decayed = {name: _DECAY * count for name, count in self._recent.items() if count >= _FORGOTTEN}
            self._recent = _sum(decayed, counts)
        same = stored is not None and stored[0] == hour
        self._hours[hour % _HOURS] = hour, _sum(stored[1] if same and stored else {}, counts)
        return found

    def forget(self) -> None:
        """Begin anew: what was usual no longer is."""
        self._recent, self._hours = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Return all counts."""
        hours = [[slot, hour, dict(counts)] for slot, (hour, counts) in sorted(self._hours.items())]
        return {"recent": dict(self._recent), "hours": hours}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._recent = {name: float(count) for name, count in state["recent"].items()}
        self._hours = {
            int(slot): (int(hour), {name: float(count) for name, count in counts.items()})
            for slot, hour, counts in state["hours"]
        }


def _sum(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in sorted({*first, *second})}


def _significant_psi(reference: Mapping[str, float], counts: Mapping[str, float]) -> float:
    names = sorted({*reference, *counts})
    old = np.array([reference.get(name, 0.0) for name in names])
    new = np.array([counts.get(name, 0.0) for name in names])
    if len(names) < 2 or not old.sum() or not new.sum():
        return 0.0
    return psi(old, new) if _g_test(np.stack([old, new]) + 0.5) < _ALPHA else 0.0


def _g_test(counts: NDArray[np.float64]) -> float:
    """Return the p-value that two rows of counts (2, n) have one distribution.

    The arithmetic of `scipy.stats.chi2_contingency` with ``lambda_="log-likelihood"`` and no correction for continuity;
    its checks of arguments cost ten times as much, and this runs for each histogram in each window.

    Examples
    --------
    >>> round(_g_test(np.array([[90.0, 10.0], [80.0, 20.0]])), 4)
    0.0459
    """
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    return float(chdtrc(counts.shape[1] - 1, 2 * (counts * np.log(counts / expected)).sum()))
