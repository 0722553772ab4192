"""Exact search: the exhaustive top k, proven by score bounds (branch and bound), without scoring every item.

Nodes are opened in order of their bounds, best first, and only those of their items are scored whose own bound reaches
the k-th best score so far. The search ends when no bound reaches it: every item that was not scored scores strictly
lower than the k-th, so neither a better item nor a tie is missed. A score does not depend on which other items are
scored (`hsnn.trainer.retrieval.score_bounds.dots`), so rows, scores and order are those of `score_all` to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.search.topk import SearchResult, top_k_rows
from hsnn.trainer.retrieval.score_bounds import DotQuery, ScoreBounds

# Items scored between two updates of the k-th best score; a quarter of all scored so far if that is more. Small blocks
# score few items in vain, large ones cost fewer calls.
_BLOCK = 64


def score_all(items: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> SearchResult:
    """Score all allowed items; `mask` (rows,) is true for these."""
    positions = np.flatnonzero(mask[items.rows])
    rows, scores = top_k_rows(items.rows[positions], items.vectors.scores(query, positions), k)
    count = len(positions)
    return SearchResult(rows, scores, scored=count, candidates=count, nodes=0, certified=True)


def search(items: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> SearchResult:
    """Find the result of `score_all` by branch and bound.

    In the result, `nodes` counts the nodes opened, `candidates` the allowed items in them, whose own bounds were
    computed, and `scored` the items scored.
    """
    if len(items.rows) == 0 or not np.isfinite(items.bounds.slack(query)):
        return score_all(items, query, mask, k)  # without finite bounds there is nothing to prune by
    run = _BoundedSearch(items, query, mask, k)
    # A first block from the best nodes gives a k-th best score that is high enough to leave most nodes unopened.
    run.open_nodes_for(2 * max(k, _BLOCK))
    run.score_block()
    run.open_remaining_nodes()
    while run.score_block():
        pass
    return run.result()


class _BoundedSearch:
    """State of the search for one request."""

    def __init__(self, items: ItemVectors, query: DotQuery, mask: NDArray[np.bool_], k: int) -> None:
        self._items, self._query, self._k = items, query, k
        self._allowed = mask[items.rows]  # (n,)
        self._upper_bounds = items.bounds.for_query(query)
        self._order = np.argsort(-self._upper_bounds.nodes, kind="stable")  # nodes, best bound first
        self._opened = self._candidates = 0
        self._pending: NDArray[np.int64] = np.zeros(0, np.int64)  # positions not scored yet, best bound first
        self._pending_bounds: NDArray[np.float64] = np.zeros(0)
        self._scored: NDArray[np.int64] = np.zeros(0, np.int64)  # positions
        self._scores: NDArray[np.float32] = np.zeros(0, np.float32)
        self._threshold = -np.inf  # the k-th best score so far

    def open_nodes_for(self, count: int) -> None:
        """Open the best nodes that together hold `count` allowed items."""
        allowed = np.add.reduceat(self._allowed, self._items.bounds.starts, dtype=np.int64)[self._order]
        self._open_nodes(int(np.searchsorted(np.cumsum(allowed), count)) + 1)

    def open_remaining_nodes(self) -> None:
        """Open every node whose bound reaches the k-th best score."""
        self._open_nodes(int(np.count_nonzero(self._upper_bounds.nodes >= self._threshold)))

    def score_block(self) -> bool:
        """Score the next items in order of their bounds; False if no bound reaches the k-th best score."""
        reaching = np.count_nonzero(self._pending_bounds >= self._threshold)
        size = min(max(_BLOCK, self._k, len(self._scored) // 4), int(reaching))
        block, self._pending = self._pending[:size], self._pending[size:]
        self._pending_bounds = self._pending_bounds[size:]
        self._scored = np.concatenate([self._scored, block])
        self._scores = np.concatenate([self._scores, self._items.vectors.scores(self._query, block)])
        if len(self._scores) >= self._k:
            self._threshold = float(np.partition(self._scores, -self._k)[-self._k])
        return size > 0

    def result(self) -> SearchResult:
        """Return the best items of those scored."""
        rows, scores = top_k_rows(self._items.rows[self._scored], self._scores, self._k)
        return SearchResult(
            rows,
            scores,
            scored=len(self._scored),
            candidates=self._candidates,
            nodes=self._opened,
            certified=True,
        )

    def _open_nodes(self, stop: int) -> None:
        """Open the nodes up to `stop` in the order of bounds; their allowed items become pending."""
        nodes = self._order[self._opened : stop]
        self._opened += len(nodes)
        positions = _member_positions(self._items.bounds, nodes)
        positions = positions[self._allowed[positions]]
        self._candidates += len(positions)
        positions = np.concatenate([self._pending, positions])
        upper_bounds = self._upper_bounds.items(positions)
        order = np.argsort(-upper_bounds)
        self._pending, self._pending_bounds = positions[order], upper_bounds[order]


def _member_positions(bounds: ScoreBounds, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of all items of some nodes (m,)."""
    sizes = bounds.sizes[nodes]
    before = np.cumsum(sizes) - sizes
    offsets: NDArray[np.int64] = np.repeat(bounds.starts[nodes] - before, sizes)
    return offsets + np.arange(len(offsets))
