"""Search for the nearest of some points, and its repetition while vectors and points move a little.

`KeptAssignment` repeats a search only where its outcome may have changed. Of every vector the **margin** is kept by
which its nearest point is nearer than any other. If the vector moves by ``v``, its nearest point by ``p`` and no other
point by more than ``q``, the margin shrinks by ``2 v + p + q`` at most (triangle inequality), and so does the sum of
the two distances. While both stay positive, the nearest point is the same; while their product, the difference of the
squared distances, is above what rounding may make of it, a search would find it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Distances of a block of vectors: with its two factors a megabyte, so that it stays in the cache of a core.
_BLOCK_DISTANCES = 1 << 18

# Largest relative error of a sum in float32, per term.
_ROUNDING = 2.0**-24

# Times by which that product must exceed the error of a squared distance: 2 for a tie, 2 for the measured margin, and
# sums above 5 roots of the error, whose own error of up to 2 roots is then no matter.
_SLACK = 32.0


class NearestPoints:
    """Search for the nearest of some points, which stay as they are.

    Among the points, ``|x - c|^2 - |x|^2 = [x, 1] . [-2 c, |c|^2]`` orders like the distance, so one matrix product of
    a block of vectors and one pass over it suffice; the matrix of all distances never exists.

    Parameters
    ----------
    points : (K, d)
    factors : (K,)
        On the squared distances.
    """

    def __init__(self, points: Tensor, factors: Tensor) -> None:
        squares = points.square().sum(1)
        columns = [-2 * points, squares[:, None]]
        self.points = points
        self.scaled = bool((factors != 1).any())
        if self.scaled:  # then |x|^2 counts, too
            columns = [*(factors[:, None] * column for column in columns), factors[:, None]]
        self._weights = torch.cat(columns, 1).T.contiguous()
        self._longest = float(squares.max().sqrt())

    def find(self, vectors: Tensor, gaps: NDArray[np.float32] | None = None) -> NDArray[np.int32]:
        """Return the nearest points (n,) of vectors (n, d); of equally near ones the first.

        Parameters
        ----------
        gaps : (2, n)
            Is set to the distance to the second nearest point minus that to the nearest one, and to the sum of both;
            factors must be 1.
        """
        count, points = len(vectors), self._weights.shape[1]
        found = np.empty(count, np.int32)
        rows = max(_BLOCK_DISTANCES // points, 1)
        products = torch.empty(min(rows, count), points)
        squares = vectors.square().sum(1, keepdim=True)
        columns = [vectors, torch.ones(count, 1)]
        extended = torch.cat([*columns, squares] if self.scaled else columns, 1)
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            block = extended[part]
            distances = torch.mm(block, self._weights, out=products[: len(block)]).numpy()
            found[part] = nearest = distances.argmin(1)  # 12 times as fast as torch's
            if gaps is not None:
                gaps[:, part] = _gaps(distances, nearest, squares[part, 0].numpy())
        return found

    def uncertainty(self, vectors: Tensor) -> NDArray[np.float32]:
        """Return the differences (n,) of squared distances of vectors (n, d) that rounding may decide on."""
        error = vectors.shape[1] * _ROUNDING * (vectors.norm(dim=1) + self._longest).square()
        uncertain: NDArray[np.float32] = (_SLACK * error).numpy()
        return uncertain


class KeptAssignment:
    """The nearest points of some rows of vectors, with all that is needed to repeat the search.

    Parameters
    ----------
    rows
        Number of rows.
    before
        The same rows, and maybe fewer or more, before they moved; rows that mean something else cost time alone.

    Attributes
    ----------
    searched : int
        Rows that were compared with all points.
    """

    def __init__(self, rows: int, before: KeptAssignment | None = None) -> None:
        self.searched = 0
        self._before = before
        self._points: Tensor | None = None
        self._shifts: NDArray[np.float32] | None = None
        self._vectors = torch.empty(rows, 0)
        self._nodes, self._gaps = np.zeros(rows, np.int32), np.zeros((2, rows), np.float32)  # margins and sums

    def find(self, nearest: NearestPoints, start: int, vectors: Tensor) -> NDArray[np.int32]:
        """Return the nearest points (n,) of vectors (n, d), those of the rows from `start` on.

        Every row is asked for once, and always of the same points, whose factors are 1.
        """
        if self._points is None:
            self._points = nearest.points
            self._vectors = torch.empty(len(self._nodes), vectors.shape[1])
            self._shifts = self._moved_points()
        part = slice(start, start + len(vectors))
        self._vectors[part] = vectors
        nodes, gaps = self._nodes[part], self._gaps[:, part]
        uncertain = np.full(len(vectors), True)
        before = self._before
        if before is not None and self._shifts is not None:
            known = slice(0, max(min(len(before._nodes) - start, len(vectors)), 0))
            old = slice(start, start + known.stop)
            nodes[known] = before._nodes[old]
            moved = (vectors[known] - before._vectors[old]).norm(dim=1).numpy()
            gaps[:, known] = before._gaps[:, old] - 2 * moved - self._shifts[nodes[known]] - self._shifts.max()
            certain = (gaps[:, known] > 0).all(0) & (gaps[:, known].prod(0) > nearest.uncertainty(vectors[known]))
            uncertain[known] = ~certain
        rows = np.flatnonzero(uncertain)
        found = np.empty((2, len(rows)), np.float32)
        nodes[rows] = nearest.find(vectors[torch.from_numpy(rows)], found)
        gaps[:, rows] = found
        self.searched += len(rows)
        return nodes

    def forget_before(self) -> KeptAssignment:
        """Drop the rows before they moved, once all rows were asked for; return this."""
        self._before = None
        return self

    def _moved_points(self) -> NDArray[np.float32] | None:
        """Return how far each point has moved, (K,); None if they cannot be compared."""
        before = None if self._before is None else self._before._points
        if before is None or self._points is None or before.shape != self._points.shape:
            return None
        shifts: NDArray[np.float32] = (self._points - before).norm(dim=1).numpy()
        return shifts


def _gaps(
    distances: NDArray[np.float32], nearest: NDArray[np.integer], squares: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return margins and sums (2, n) from squared distances (n, K), overwritten, less the `squares` (n,) of vectors."""
    rows = np.arange(len(nearest))
    first = distances[rows, nearest]
    distances[rows, nearest] = np.inf
    second = distances.min(1)
    sums = np.sqrt(np.maximum(first + squares, 0)) + np.sqrt(np.maximum(second + squares, 0))
    with np.errstate(divide="ignore", invalid="ignore"):  # points that coincide with the vector, or a single point
        gaps: NDArray[np.float32] = np.stack([(second - first) / sums, sums])
    return gaps
