"""A limit for series of population stability indices, which measure a shift of many shares by themselves."""

from __future__ import annotations

# Robust standard deviations of the series. The smallest one is a sixth of 0.25, the customary major shift
# (`Signal.floor` of histograms), and the watch asks for six: the test only says where it has to look.
_LIMIT = 3.0


class PsiTest:
    """Detect an index that is far above the usual ones, at once.

    Examples
    --------
    >>> test = PsiTest()
    >>> [test.update(value) for value in (0.5, 3.5)]
    [False, True]
    """

    def update(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        return value >= _LIMIT


create = PsiTest
