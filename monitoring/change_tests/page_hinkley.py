"""The Page-Hinkley test (Page 1954): cumulative deviation from the running mean, the quickest for a lasting shift."""

from __future__ import annotations

from river.drift import PageHinkley

# In robust standard deviations of the series: a deviation that does not add up, and the sum that counts as a change.
_TOLERATED, _LIMIT = 0.5, 15.0

# Values before the mean is trusted.
_LEAST = 20


class PageHinkleyTest:
    """Detect a lasting change of the mean in either direction.

    Examples
    --------
    >>> test = PageHinkleyTest()
    >>> [index for index in range(60) if test.update(5.0 * (index >= 50))]
    [53]
    """

    def __init__(self) -> None:
        self._test = PageHinkley(min_instances=_LEAST, delta=_TOLERATED, threshold=_LIMIT)

    def update(self, value: float) -> bool:
        """Add a value; return whether the mean has changed."""
        self._test.update(value)
        return bool(self._test.drift_detected)


create = PageHinkleyTest
