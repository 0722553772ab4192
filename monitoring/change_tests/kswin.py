"""KSWIN (Raab et al. 2020): a Kolmogorov-Smirnov test of the last values against a sample of those before."""

from __future__ import annotations

from river.drift import KSWIN

# Values compared, and values kept: with 12 against 12 the smallest p-value is 7e-7.
_RECENT, _KEPT = 12, 40

# Significance of one test; consecutive tests share most of their values.
_ALPHA = 1e-4

# The sample of the values before is drawn by river from this seed, so that a replay tests the same.
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
        self._test = KSWIN(alpha=_ALPHA, window_size=_KEPT, stat_size=_RECENT, seed=_SEED)

    def update(self, value: float) -> bool:
        """Add a value; return whether the distribution has changed."""
        self._test.update(value)
        return bool(self._test.drift_detected)


create = KswinTest
