"""What an item's dot-product score cannot exceed: bounds per node and per item, from arrays alone.

The item level's score of item i is ``u . w_i + b_i + z_node(i)``: ``w_i`` joins its static vector and its state vector,
``b_i`` their biases, ``z`` is the ensemble's share of the node's logit. HILL (arXiv 2604.12965) names "efficient search
while preserving exactness" without saying how; here it is a search that skips an item only if a bound forbids it.

Scores are float32 sums in one fixed order (`row_dot_products`), so an item's score does not depend, to the last bit, on
which others are scored with it. Bounds are float64, raised by more than the rounding of any such score.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Reals = NDArray[np.float64]

_LIMITS = np.finfo(np.float32)
_UNIT = float(_LIMITS.eps)  # twice the largest relative rounding error of one operation
_LEAST = float(_LIMITS.tiny)  # more than what is lost of one result that is too small for its digits
_OPERATIONS = 8
"""Roundings of a score beside one per number of its vector."""


class DotQuery(NamedTuple):
    """One request, as far as a dot-product score sees it.

    Attributes
    ----------
    vector : (w,) float32
        The user against static vectors, then against state vectors.
    split : int
        How many of the `w` numbers belong to the static vector.
    nodes : (K,) float32
        What each node adds to the score of its items.
    """

    vector: NDArray[np.float32]
    split: int
    nodes: NDArray[np.float32]


class GroupedItems(NamedTuple):
    """Items as dot-product scores see them, grouped by node.

    Attributes
    ----------
    vectors : (n, w) float32
    bias : (n,) float32
    nodes : (n,) int32
        Ascending; none is -1.
    """

    vectors: NDArray[np.float32]
    bias: NDArray[np.float32]
    nodes: NDArray[np.int32]

    def scores(self, query: DotQuery, at: Positions) -> NDArray[np.float32]:
        """Scores of the items at positions (m,): (m,). Each depends on its own item only, not on the others asked."""
        scores: NDArray[np.float32] = (
            row_dot_products(self.vectors[at], query.vector) + self.bias[at] + query.nodes[self.nodes[at]]
        )
        return scores


def row_dot_products(vectors: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Dot products of rows (n, w) with a vector (w,): (n,), the sum of each row in an order that depends on `w` only.

    A matrix product is faster, but its last bits change with the number of rows.

    Examples
    --------
    >>> row_dot_products(np.array([[1, 2], [3, 4]], np.float32), np.array([10, 1], np.float32)).tolist()
    [12.0, 34.0]
    """
    products: NDArray[np.float32] = np.add.reduce(np.ascontiguousarray(vectors) * vector, axis=1)
    return products


class ScoreBounds:
    """Aggregates of the items of every node that has any; M of them.

    Parameters
    ----------
    members
        The items, grouped by node.
    split
        As in `DotQuery`; the parts before and after it have a radius each, which is tighter than one for both.

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
        self.low = np.minimum.reduceat(members.vectors, self.starts).astype(np.float64)  # (M, w)
        self.high = np.maximum.reduceat(members.vectors, self.starts).astype(np.float64)  # (M, w)
        self.centre = np.add.reduceat(vectors, self.starts) / self.sizes[:, None]  # (M, w)
        with np.errstate(invalid="ignore"):  # of what is not finite there is no distance, and `slack` is not finite
            away = vectors - self.centre[self.group]  # (n, w)
        parts = (away[:, :split], away[:, split:])
        self.radii: Reals = np.sqrt([np.einsum("nw,nw->n", part, part) for part in parts])  # (2, n)
        self.radius = np.maximum.reduceat(self.radii, self.starts, axis=1)  # (2, M)
        self.bias = members.bias.astype(np.float64)  # (n,)
        self.top_bias = np.maximum.reduceat(self.bias, self.starts)  # (M,)
        self.largest = np.maximum(self.high.max(0), -self.low.min(0))  # (w,)
        self.largest_bias = float(np.abs(self.bias).max())

    def for_query(self, query: DotQuery) -> QueryBounds:
        """Bound the scores of one request."""
        u = query.vector.astype(np.float64)
        norms = np.array([np.linalg.norm(u[: query.split]), np.linalg.norm(u[query.split :])])
        box = self.high @ np.maximum(u, 0) + self.low @ np.minimum(u, 0)  # (M,)
        extra = query.nodes[self.node].astype(np.float64) + self.slack(query)  # (M,)
        return QueryBounds(self, box=box, centre=self.centre @ u, norms=norms, extra=extra)

    def slack(self, query: DotQuery) -> float:
        """More than rounding can change a score by: a multiple of the largest sum of absolute terms there can be.

        Infinite or not a number where scores may be so; then there are no bounds.
        """
        u = np.abs(query.vector.astype(np.float64))
        terms = float(u @ self.largest) + self.largest_bias + float(np.abs(query.nodes.astype(np.float64)).max())
        return (len(u) + _OPERATIONS) * (_UNIT * terms + _LEAST) if terms < _LIMITS.max / 2 else np.inf


class QueryBounds:
    """What the scores of one request cannot exceed.

    Two bounds of ``u . w_i`` hold at once, the smaller one counts: the box that holds the node's vectors, and their
    centre with a distance from it (Cauchy-Schwarz), the node's largest distance or the item's own.

    Attributes
    ----------
    nodes : (M,) float64
        Bound of every item of a group.
    """

    def __init__(self, bounds: ScoreBounds, box: Reals, centre: Reals, norms: Reals, extra: Reals) -> None:
        self._bounds, self._box, self._centre, self._norms, self._extra = bounds, box, centre, norms, extra
        self.nodes: Reals = np.minimum(box, centre + norms @ bounds.radius) + bounds.top_bias + extra

    def items(self, at: Positions) -> Reals:
        """Bounds of the items at positions (m,): (m,); costs two multiplications an item, whatever the width."""
        bounds = self._bounds
        group = bounds.group[at]
        ball = self._centre[group] + self._norms @ bounds.radii[:, at]  # (m,)
        return np.minimum(self._box[group], ball) + bounds.bias[at] + self._extra[group]
