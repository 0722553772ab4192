"""The shard of a step's queries that one worker computes; everything else of the step every worker computes in full."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class QueryShard(NamedTuple):
    """Shard `rank` of `size` equal ones.

    Examples
    --------
    >>> [list(range(7))[QueryShard(rank, 3).slice_of(7)] for rank in range(3)]
    [[0, 1], [2, 3], [4, 5, 6]]
    >>> list(range(3))[FULL_SHARD.slice_of(3)]
    [0, 1, 2]
    """

    rank: int = 0
    size: int = 1

    def slice_of(self, queries: int) -> slice:
        """Return the slice of this shard in `queries` queries."""
        return slice(queries * self.rank // self.size, queries * (self.rank + 1) // self.size)


FULL_SHARD = QueryShard()
"""All queries: what a single worker computes."""


class StepTotals(NamedTuple):
    """Denominators of the means over a whole step; each shard divides its sums by them, so that shards add up.

    Attributes
    ----------
    weight, fresh : ()
        Weight of all queries, and of the new ones among them.
    queries, judged : int
        Number of queries, and of labelled items.
    judged_cut : slice
        The labelled items of this shard.
    share : float
        This shard's share of the terms that do not depend on queries.
    first : int
        Number of the shard's first query among all.
    """

    weight: Tensor
    fresh: Tensor
    queries: int
    judged: int = 0
    judged_cut: slice = slice(0, 0)
    share: float = 1.0
    first: int = 0


def mean(values: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Weighted mean of values (b,) with weights (b,), or a shard's term of it; `total` () is the sum of all weights."""
    return (values * weights).sum() / total.clamp_min(1e-6)
