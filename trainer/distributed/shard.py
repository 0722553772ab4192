"""Which queries of a step a worker computes: everything else of the step is computed by all workers alike."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """Part `number` of `of` equal ones.

    Examples
    --------
    >>> [list(range(7))[Part(number, 3).cut(7)] for number in range(3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    >>> list(range(3))[WHOLE.cut(3)]
    [0, 1, 2]
    """

    number: int = 0
    of: int = 1

    def cut(self, count: int) -> slice:
        """Those of `count` queries that are in this part."""
        return slice(count * self.number // self.of, count * (self.number + 1) // self.of)


WHOLE = Part()
"""All queries: what a single worker computes."""


class Totals(NamedTuple):
    """What sums over a part's queries are divided by, so that those of all parts add up to means over the step.

    Attributes
    ----------
    weight, fresh : ()
        Weight of all queries, and of the new ones among them.
    queries, judged : int
        How many there are of them, and of judged items.
    judged_cut : slice
        The judged items of this part.
    share : float
        This part's share of what does not hang on queries.
    """

    weight: Tensor
    fresh: Tensor
    queries: int
    judged: int = 0
    judged_cut: slice = slice(0, 0)
    share: float = 1.0


def mean(values: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Weighted mean of values (b,) with weights (b,), or a part's summand of it: `total` () is that of all weights."""
    return (values * weights).sum() / total.clamp_min(1e-6)
