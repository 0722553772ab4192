"""KSWIN (Raab et al. 2020): a Kolmogorov-Smirnov test of the last values against a sample of those before.

The decisions are those of `river.drift.KSWIN`, which computes a p-value for each value: that takes most of the time of
all signals. Here the statistic is compared with its critical value, which is known once.
"""

from __future__ import annotations

import random
from collections import deque
from functools import cache

import numpy as np
from scipy import stats

# Values compared, and values kept: with 12 against 12 the smallest p-value is 7e-7.
_RECENT, _KEPT = 12, 40

# Significance of one test; consecutive tests share most of their values.
_ALPHA = 1e-4

# The sample of the values before is drawn from this seed, so that a replay tests the same.
_SEED = 17


class KswinTest:
    """Detect a change of the distribution, not only of its mean.

    Examples
    --------
    >>> test = KswinTest()
    >>> [index for index in range(80) if test.update(5.0 * (index >= 60) + index % 5)][:1]
    [70]
    """

    def __init__(self) -> None:
        self._restart()

    def update(self, value: float) -> bool:
        """Add a value; return whether the distribution has changed."""
        self._values.append(value)
        if len(self._values) < _KEPT:
            return False
        values = np.array(self._values)
        recent = np.sort(values[-_RECENT:])
        before = np.sort(values[self._rng.sample(range(_KEPT - _RECENT), _RECENT)])
        points = np.concatenate([recent, before])
        ahead = np.searchsorted(recent, points, "right") - np.searchsorted(before, points, "right")
        changed = bool(np.abs(ahead).max() >= _critical())
        if changed:
            self._restart()
        return changed

    def _restart(self) -> None:
        self._values: deque[float] = deque(maxlen=_KEPT)
        self._rng = random.Random(_SEED)  # noqa: S311 - no secret


@cache
def _critical() -> int:
    """Return the least difference of counts, of two samples of `_RECENT` values, whose p-value is at most `_ALPHA`."""
    ranks = np.arange(_RECENT)
    pvalues = (stats.ks_2samp(ranks, ranks + difference - 0.5).pvalue for difference in range(1, _RECENT + 1))
    return 1 + next(index for index, pvalue in enumerate(pvalues) if pvalue <= _ALPHA)


create = KswinTest
