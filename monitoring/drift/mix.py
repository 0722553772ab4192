"""Drift of the item distribution: population stability index of a window of interactions against those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MixDriftConfig
from hsnn.monitoring.detector import AlarmCoolDown, DetectorDeclaration

_REFERENCE_DECAY = 0.75
"""Factor of the reference counts per window: an effective length of 1 / (1 - 0.75) = 4 windows."""

_NOVELTY_WINDOWS = 4
"""Windows without an engagement after which an item counts as new again: the effective length of the reference."""

_BASELINE_WINDOWS = 32
"""Comparisons that the usual PSI is a quantile of; above its 90% they may be traces of a shift."""


def psi(reference: NDArray[np.floating], recent: NDArray[np.floating]) -> float:
    """Compute the population stability index of two histograms over the same groups.

    Counts are smoothed by half an event per group, so that an empty group costs much but not everything. Customary
    reading: below 0.1 stable, above 0.25 a major shift.

    Parameters
    ----------
    reference, recent : (groups,) counts

    Examples
    --------
    >>> psi(np.array([50.0, 50.0]), np.array([500.0, 500.0])) < 1e-3
    True
    >>> round(psi(np.array([500.0, 500.0]), np.array([900.0, 100.0])), 2)
    0.88
    """
    old, new = (reference + 0.5) / (reference + 0.5).sum(), (recent + 0.5) / (recent + 0.5).sum()
    return float(((new - old) * np.log(new / old)).sum())


class MixDrift:
    """Raise an alarm when the distribution of engaged items shifts more than usual.

    The PSI of a window is the sum of two: over hash groups of the items, and over known and new items (new: without an
    engagement in the last windows), which detects a shift to unknown items even if the hash groups keep their shares.
    The distribution of a news stream changes all the time, so the threshold is relative to the usual PSI of this
    stream. The reference follows slowly, so that a shift in the middle of a window is fully visible in the next one.

    Examples
    --------
    >>> drift = MixDrift(MixDriftConfig(window=64, warm_up=4))
    >>> streams = [np.arange(64) % 8] * 8 + [100 + np.arange(64) % 8] * 8
    >>> alarms = [drift.update(items, ts) for ts, items in enumerate(streams)]
    >>> [alarm.ts for alarm in alarms if alarm]
    [8]
    """

    kind = "mix_drift"

    def __init__(self, config: MixDriftConfig) -> None:
        self._config = config
        self._cool_down = AlarmCoolDown(config.warm_up, config.cool_down)
        self._groups = np.zeros(config.groups)
        self._newness = np.zeros(2)
        self._usual: list[float] = []
        self._pending: NDArray[np.int64] = np.zeros(0, np.int64)
        self._seen: dict[int, int] = {}
        self._windows = 0

    def update(self, value: Sequence[int] | NDArray[np.integer], ts: int) -> Alarm | None:
        """Update with the item rows (n,) of the next batch's interactions; alarms are raised when a window is full."""
        if not self._config.enabled:
            return None
        self._pending = np.concatenate((self._pending, np.asarray(value, np.int64)))
        raised = None
        while len(self._pending) >= self._config.window:
            window, self._pending = np.split(self._pending, [self._config.window])
            raised = self._close_window(window, ts) or raised
        return raised

    def state_dict(self) -> dict[str, Any]:
        """Return the references, the last PSIs, the open window and the items of the last windows."""
        return {
            "groups": self._groups.tolist(),
            "newness": self._newness.tolist(),
            "usual": list(self._usual),
            "pending": self._pending.tolist(),
            "seen": [list(self._seen), list(self._seen.values())],
            "windows": self._windows,
            "pause": self._cool_down.remaining,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` of a detector with the same configuration."""
        self._groups = np.array(state["groups"], np.float64)
        self._newness = np.array(state["newness"], np.float64)
        self._usual = [float(index) for index in state["usual"]]
        self._pending = np.array(state["pending"], np.int64)
        self._seen = dict(zip(*state["seen"], strict=True))
        self._windows = int(state["windows"])
        self._cool_down.remaining = int(state["pause"])

    def _close_window(self, window: NDArray[np.int64], ts: int) -> Alarm | None:
        groups, newness = self._count(window)
        self._windows += 1
        if self._windows == 1:  # nothing to compare with, and every item would count as new
            self._groups = groups
            return None
        index = psi(self._groups, groups) + (psi(self._newness, newness) if self._newness.any() else 0.0)
        raised = self._compare(index, ts)
        if (
            raised
        ):  # the shifted distribution is the new reference; a shift says nothing of the usual share of new items
            self._groups = groups
        else:
            self._groups = _REFERENCE_DECAY * self._groups + groups
            self._newness = _REFERENCE_DECAY * self._newness + newness
        return raised

    def _compare(self, index: float, ts: int) -> Alarm | None:
        usual = float(np.quantile(self._usual, 0.9)) if self._usual else 0.0
        limit = max(self._config.threshold, self._config.ratio * usual)
        self._usual = [*self._usual, index][-_BASELINE_WINDOWS:]
        alarming = index > limit and self._cool_down.expired()
        self._cool_down.advance()
        if not alarming:
            return None
        self._cool_down.restart()
        detail = (
            f"PSI {index:.3g} of the last {self._config.window} interactions' items to those before; limit {limit:.3g}"
        )
        return Alarm(id=f"{self.kind}:{ts}", kind=self.kind, ts=ts, value=index, threshold=limit, detail=detail)

    def _count(self, window: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Count interactions per hash group, and of known and new items; record the items of the window."""
        items, times = np.unique(window, return_counts=True)
        new = np.array([item not in self._seen for item in items.tolist()])
        self._seen.update(dict.fromkeys(items.tolist(), self._windows))
        oldest = self._windows - _NOVELTY_WINDOWS
        self._seen = {item: last for item, last in self._seen.items() if last > oldest}
        groups = np.bincount(_group(items, self._config.groups), weights=times, minlength=self._config.groups)
        return groups.astype(np.float64), np.array([times[~new].sum(), times[new].sum()], np.float64)


def _group(items: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Return the hash group of each item row; Fibonacci hashing, because neighbouring rows are of similar age."""
    hashed: NDArray[np.int64] = ((items * 2_654_435_761) % (1 << 32) * groups) >> 32
    return hashed


DETECTOR = DetectorDeclaration(lambda config: MixDrift(config.mix_drift), lambda signals: signals.items)
