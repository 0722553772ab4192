"""Upper bounds of dot-product scores, per node and per item, for exact pruned search.

The item level's score of item i is ``u . w_i + b_i + z_node(i)``: ``w_i`` joins its static vector and its state vector,
``b_i`` their biases, ``z`` is the ensemble's share of the node's logit. HILL (arXiv 2604.12965) names "efficient search
while preserving exactness" without saying how; here, a search skips an item only if its bound rules it out.

Scores are float32 sums in one fixed order (`row_dot_products`), so an item's score has the same bits whichever
others are scored with it. Bounds are float64, raised by more than the rounding error of any such score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Reals = NDArray[np.float64]

_LIMITS = np.finfo(np.float32)

# Bound of the relative rounding error of one float32 operation: twice the true one.
_UNIT = float(_LIMITS.eps)

# Bound of the absolute error of one operation whose result is subnormal, where the relative bound does not hold.
_LEAST = float(_LIMITS.tiny)

_OPERATIONS = 8
"""Bound of the rounded operations of a score beside one per number of its vector."""


class DotQuery(NamedTuple):
    """One request as vectors for dot-product scores.

    Attributes
    ----------
    vector : (w,) float32
        User vector for static vectors, then for state vectors.
    split : int
        Numbers of `vector` that belong to static vectors.
    nodes : (K,) float32
        Term that each node adds to the scores of its items.
    """

    vector: NDArray[np.float32]
    split: int
    nodes: NDArray[np.float32]


class GroupedItems(NamedTuple):
    """Items as vectors for dot-product scores, grouped by node.

    Attributes
    ----------
    vectors : (n, w) float32
    bias : (n,) float32
    nodes : (n,) int32
        Ascending; -1 does not occur.
    """

    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]
    nodes: NDArray[np.int32]

    def scores(self, query: DotQuery, positions: Positions) -> NDArray[np.float32]:
        """Score the items at `positions` (m,): (m,). A score has the same bits whichever others are scored with it."""
        products = row_dot_products(self.vectors[positions], query.vector)
        scores: NDArray[np.float32] = products + self.bias[positions] + query.nodes[self.nodes[positions]]
        return scores


def row_dot_products(vectors: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute dot products of rows (n, w) with a vector (w,): (n,), each summed in an order that depends on `w` only.

    A matrix product is faster, but its last bits change with the number of rows.

    Examples
    --------
    >>> row_dot_products(np.array([[1, 2], [3, 4]], np.float32), np.array([10, 1], np.float32)).tolist()
    [12.0, 34.0]
    """
    products: NDArray[np.float32] = np.add.reduce(np.ascontiguousarray(vectors) * vector, axis=1)
    return products


def rounding_error(terms: float, width: int) -> float:
    """Bound the rounding error of a float32 score: the sum of the products of two vectors (width,), and a few numbers.

    `terms` bounds the sum of their absolute values. Infinite where scores may overflow or are not finite.

    Examples
    --------
    >>> rounding_error(100.0, 48) < 1e-3, rounding_error(3e38, 48)
    (True, inf)
    """
    return (width + _OPERATIONS) * (_UNIT * terms + _LEAST) if terms < _LIMITS.max / 2 else np.inf


class ScoreBounds:
    """Aggregates over the items of each of the M non-empty nodes, from which scores are bounded.

    Parameters
    ----------
    members
        The items, grouped by node.
    split
        As in `DotQuery`; the parts before and after it have separate radii, which is tighter than one for both.

    Attributes
    ----------
    starts, sizes : (M,) int64
        First position and number of items of each group.
    group : (n,) int64
        Group of each item.

    Examples
    --------
    >>> vectors, nodes = np.array([[1, 0], [3, 0], [0, 9]], np.float32), np.array([0, 0, 4])
    >>> items = GroupedItems(vectors, np.zeros(3, np.float32), nodes)
    >>> query = DotQuery(np.array([1, 0], np.float32), 1, np.zeros(5, np.float32))
    >>> ScoreBounds(items, 1).for_query(query).nodes.round(3).tolist()
    [3.0, 0.0]
    """

    def __init__(self, members: GroupedItems, split: int) -> None:
        nodes, vectors = members.nodes, members.vectors.astype(np.float64)  # (n, w)
        first = np.ones(len(nodes), np.bool_)
        first[1:] = nodes[1:] != nodes[:-1]
        self.starts: Positions = np.flatnonzero(first)
        self.sizes: Positions = np.diff(np.append(self.starts, len(nodes)))
        self.group: Positions = np.cumsum(first) - 1
        self.node: NDArray[np.int32] = nodes[self.starts]  # (M,)
        # Two enclosures of each node's vectors: a box (smallest and largest per coordinate) and a ball around the mean.
        self.low = np.minimum.reduceat(members.vectors, self.starts).astype(np.float64)  # (M, w)
        self.high = np.maximum.reduceat(members.vectors, self.starts).astype(np.float64)  # (M, w)
        self.centre = np.add.reduceat(vectors, self.starts) / self.sizes[:, None]  # (M, w)
        with np.errstate(invalid="ignore"):  # vectors that are not finite give nan here, and an infinite `slack`
            away = vectors - self.centre[self.group]  # (n, w)
        parts = (away[:, :split], away[:, split:])
        self.radii: Reals = np.sqrt([np.einsum("nw,nw->n", part, part) for part in parts])  # (2, n)
        self.radius = np.maximum.reduceat(self.radii, self.starts, axis=1)  # (2, M)
        self.bias = members.bias.astype(np.float64)  # (n,)
        self.top_bias = np.maximum.reduceat(self.bias, self.starts)  # (M,)
        self.largest = np.maximum(self.high.max(0), -self.low.min(0))  # (w,)
        self.largest_bias = float(np.abs(self.bias).max())

    def for_query(self, query: DotQuery) -> QueryBounds:
        """Compute the bounds for one request."""
        u = query.vector.astype(np.float64)
        norms = np.array([np.linalg.norm(u[: query.split]), np.linalg.norm(u[query.split :])])
        # The largest dot product over a box: its upper corner where u is positive, its lower one where u is negative.
        box = self.high @ np.maximum(u, 0) + self.low @ np.minimum(u, 0)  # (M,)
        extra = query.nodes[self.node].astype(np.float64) + self.slack(query)  # (M,)
        return QueryBounds(self, box=box, centre=self.centre @ u, norms=norms, extra=extra)

    def slack(self, query: DotQuery) -> float:
        """Bound the rounding error of a score: a multiple of the largest possible sum of absolute terms.

        Infinite where scores may overflow or are not finite; then there are no bounds.
        """
        u = np.abs(query.vector.astype(np.float64))
        terms = float(u @ self.largest) + self.largest_bias + float(np.abs(query.nodes.astype(np.float64)).max())
        return rounding_error(terms, len(u))


class QueryBounds:
    """Upper bounds of the scores of one request.

    The smaller of two bounds of ``u . w_i``: from the box that encloses the node's vectors, and from their centre and a
    distance from it (Cauchy-Schwarz), the node's largest distance or the item's own.

    Attributes
    ----------
    nodes : (M,) float64
        Bound of every item of a group.
    """

    def __init__(self, bounds: ScoreBounds, box: Reals, centre: Reals, norms: Reals, extra: Reals) -> None:
        self._bounds, self._box, self._centre, self._norms, self._extra = bounds, box, centre, norms, extra
        self.nodes: Reals = np.minimum(box, centre + norms @ bounds.radius) + bounds.top_bias + extra

    def items(self, positions: Positions) -> Reals:
        """Bound the items at `positions` (m,): (m,); costs two multiplications per item, whatever the width."""
        bounds = self._bounds
        group = bounds.group[positions]
        ball = self._centre[group] + self._norms @ bounds.radii[:, positions]  # (m,)
        return np.minimum(self._box[group], ball) + bounds.bias[positions] + self._extra[group]
