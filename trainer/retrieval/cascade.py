"""The first stage of the cascade: the candidates of all sources, in the order of their dot products.

The index yields a quarter of the items, at most, in merge order; every other source yields a few. The dot product of
all of them with the user decides which of them the full scorer gets: merge order knows what an item is worth to
everybody, the dot product what it is worth to this user.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class CandidateSource(IntEnum):
    """Where a candidate comes from; one that several sources have counts for the first."""

    MEMORY = 0
    NEIGHBOURS = 1
    INDEX = 2


class MergedCandidates(NamedTuple):
    """Candidates of a request, each once.

    Attributes
    ----------
    rows : (n,) int64
        Ascending, each once.
    sources : (n,) uint8
        Of `CandidateSource`.
    """

    rows: NDArray[np.int64]
    sources: NDArray[np.uint8]

    @classmethod
    def merged(cls, found: dict[CandidateSource, NDArray[np.int64]]) -> MergedCandidates:
        """Unite the rows of all sources.

        Examples
        --------
        >>> of_index, of_memory = np.array([5, 2, 9]), np.array([9])
        >>> found = MergedCandidates.merged({CandidateSource.INDEX: of_index, CandidateSource.MEMORY: of_memory})
        >>> found.rows.tolist(), found.sources.tolist()
        ([2, 5, 9], [2, 2, 0])
        """
        sources = sorted(found)
        rows = np.concatenate([found[source] for source in sources]) if sources else np.zeros(0, np.int64)
        labels = np.repeat(np.array(sources, np.uint8), [len(found[source]) for source in sources])
        distinct, first = np.unique(rows, return_index=True)  # the first of equal rows, so the first source
        return cls(distinct, labels[first])

    def best(self, scores: NDArray[np.floating], budget: int) -> MergedCandidates:
        """Return the `budget` candidates with the highest scores (n,); of equal ones the lower rows."""
        if len(self.rows) <= budget:
            return self
        order = np.argsort(-scores, kind="stable")[:budget]
        chosen = np.sort(order)
        return MergedCandidates(self.rows[chosen], self.sources[chosen])

    def counts(self) -> dict[str, int]:
        """Count the candidates by source, in lower case."""
        counts = np.bincount(self.sources, minlength=len(CandidateSource)).tolist()
        return {source.name.lower(): counts[source] for source in CandidateSource if counts[source]}
