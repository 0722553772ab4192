"""Exact search: the exhaustive top k, proven, without scoring every item.

Nodes are opened best bound first, and of their items only those are scored whose own bound reaches the k-th best score
so far. It ends when no bound does: then every item that was not scored would score less than the k-th, strictly, so
neither it nor a tie is missed. A score does not depend on which other items are scored
(`hsnn.trainer.retrieval.score_bounds.dots`), so rows, scores and order are those of `everything`, to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.search.topk import SearchResult, top_k_rows
from hsnn.trainer.retrieval.score_bounds import Bounds, DotQuery

_BLOCK = 64
"""Items scored before the k-th best score is looked at again; a quarter of all scored so far where that is more."""


def score_all(tick: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> SearchResult:
    """Score all allowed items; `mask` (rows,) says which are."""
    at = np.flatnonzero(mask[tick.rows])
    rows, scores = top_k_rows(tick.rows[at], tick.vectors.scores(query, at), k)
    return SearchResult(rows, scores, len(at), len(at), nodes=0, certified=True)


def search(tick: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> SearchResult:
    """Find what `everything` finds.

    In the answer, `nodes` counts nodes opened, `candidates` allowed items in them, whose own bounds were looked at, and
    `scored` items that were scored.
    """
    if len(tick.rows) == 0 or not np.isfinite(tick.bounds.slack(query)):
        return score_all(tick, query, mask, k)
    hunt = _BoundedSearch(tick, query, mask, k)
    hunt.open_for(2 * max(k, _BLOCK))
    hunt.score()
    hunt.open_all()
    while hunt.score():
        pass
    return hunt.found()


class _BoundedSearch:
    """One request's search."""

    def __init__(self, tick: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> None:
        self._item_vectors, self._query, self._k = tick, query, k
        self._allowed = mask[tick.rows]  # (n,)
        self._ceilings = tick.bounds.against(query)
        self._order = np.argsort(-self._ceilings.nodes, kind="stable")  # groups, best bound first
        self._opened = self._candidates = 0
        self._open: NDArray[np.int64] = np.zeros(0, np.int64)  # positions not scored yet, best bound first
        self._bounds: NDArray[np.float64] = np.zeros(0)
        self._at: NDArray[np.int64] = np.zeros(0, np.int64)  # positions scored
        self._scores: NDArray[np.float32] = np.zeros(0, np.float32)
        self._least = -np.inf  # the k-th best score so far

    def open_for(self, items: int) -> None:
        """Open the best nodes that hold `items` allowed items together."""
        held = np.add.reduceat(self._allowed, self._item_vectors.bounds.starts, dtype=np.int64)[self._order]
        self._expand(int(np.searchsorted(np.cumsum(held), items)) + 1)

    def open_all(self) -> None:
        """Open every node whose bound reaches the k-th best score."""
        self._expand(int(np.count_nonzero(self._ceilings.nodes >= self._least)))

    def score(self) -> bool:
        """Score the next items in order of their bounds; False if no bound reaches the k-th best score."""
        reaching = np.count_nonzero(self._bounds >= self._least)
        size = min(max(_BLOCK, self._k, len(self._at) // 4), int(reaching))
        at, self._open, self._bounds = self._open[:size], self._open[size:], self._bounds[size:]
        self._at = np.concatenate([self._at, at])
        self._scores = np.concatenate([self._scores, self._item_vectors.vectors.scores(self._query, at)])
        if len(self._scores) >= self._k:
            self._least = float(np.partition(self._scores, -self._k)[-self._k])
        return size > 0

    def found(self) -> SearchResult:
        """Answer."""
        rows, scores = top_k_rows(self._item_vectors.rows[self._at], self._scores, self._k)
        return SearchResult(rows, scores, len(self._at), self._candidates, self._opened, certified=True)

    def _expand(self, until: int) -> None:
        groups = self._order[self._opened : until]
        self._opened += len(groups)
        at = _members(self._item_vectors.bounds, groups)
        at = at[self._allowed[at]]
        self._candidates += len(at)
        at = np.concatenate([self._open, at])
        ceilings = self._ceilings.members(at)
        order = np.argsort(-ceilings)
        self._open, self._bounds = at[order], ceilings[order]


def _members(bounds: Bounds, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of all items of some groups (m,)."""
    sizes = bounds.sizes[groups]
    before = np.cumsum(sizes) - sizes
    offsets: NDArray[np.int64] = np.repeat(bounds.starts[groups] - before, sizes)
    return offsets + np.arange(len(offsets))
