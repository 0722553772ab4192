"""Population stability index of a window's counts against those before, or against about the same hour of yesterday."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from hsnn.monitoring.drift.mix import psi
from hsnn.monitoring.watching.season import HOUR, covered_hours

# Factor of the reference counts per window: an effective length of 1 / (1 - 0.9) = 10 windows.
_DECAY = 0.9

# Significance of the G-test: an index that chance explains counts as none, however few the events of a window.
_ALPHA = 1e-4

# Counts below which a name is forgotten.
_FORGOTTEN = 0.01

# Hours back that are compared: a day, with an hour on either side, since a rhythm is not exact. A week of counts by
# name would be much to keep.
_BACK = (23, 24, 25)


class HistogramReference:
    """Counts of the last windows, and of each hour of the last day.

    Examples
    --------
    >>> reference = HistogramReference()
    >>> windows = [{"click": 90, "buy": 10}] * 3 + [{"click": 10, "buy": 90}]
    >>> [round(reference.compare(window, begin=index, ts=index), 2) for index, window in enumerate(windows)]
    [nan, 0.0, 0.0, 3.43]
    """

    def __init__(self) -> None:
        self._recent: dict[str, float] = {}
        self._hours: dict[int, dict[str, float]] = {}  # absolute hour -> counts

    def compare(self, counts: Mapping[str, float], *, begin: int, ts: int, since: int | None = None) -> float:
        """Return the PSI of a window, the smallest one of all references; NaN for the first window.

        Parameters
        ----------
        begin, ts
            Of the window, epoch ms.
        since
            When a shift may have begun, epoch ms: what came after it is no reference. None: there is none in sight.
        """
        hour, end = ts // HOUR, (ts if since is None else since) // HOUR
        hours = [self._hours.get(hour - back, {}) for back in _BACK if hour - back < end]
        references = [reference for reference in (self._recent, *hours) if reference]
        found = min((_significant_psi(reference, counts) for reference in references), default=float("nan"))
        if since is None:
            decayed = {name: _DECAY * count for name, count in self._recent.items() if count >= _FORGOTTEN}
            self._recent = _sum(decayed, counts)
        self._hours = {each: kept for each, kept in self._hours.items() if each >= hour - max(_BACK)}
        alone = _sum({}, counts)  # of the many hours that a night's window covers, all but one have no counts yet
        for each in covered_hours(begin, ts, at_most=max(_BACK)):
            self._hours[each] = _sum(self._hours[each], counts) if each in self._hours else alone
        return found

    def forget(self) -> None:
        """Begin anew: what was usual no longer is."""
        self._recent, self._hours = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Return all counts."""
        return {
            "recent": dict(self._recent),
            "hours": [[hour, dict(counts)] for hour, counts in sorted(self._hours.items())],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._recent = {name: float(count) for name, count in state["recent"].items()}
        self._hours = {
            int(hour): {name: float(count) for name, count in counts.items()}
            for *_, hour, counts in state["hours"]  # an older checkpoint names the hour of the day, too
        }


def _sum(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in sorted({*first, *second})}


def _significant_psi(reference: Mapping[str, float], counts: Mapping[str, float]) -> float:
    """Return the PSI of counts beyond the one that chance gives: of `n` names (n - 1) (1 / old + 1 / new) events."""
    names = sorted({*reference, *counts})
    old = np.array([reference.get(name, 0.0) for name in names])
    new = np.array([counts.get(name, 0.0) for name in names])
    if len(names) < 2 or not old.sum() or not new.sum():
        return 0.0
    if _g_test(np.stack([old, new]) + 0.5) >= _ALPHA:
        return 0.0
    by_chance = (len(names) - 1) * (1 / old.sum() + 1 / new.sum())
    return max(float(psi(old, new) - by_chance), 0.0)


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
