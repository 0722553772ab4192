"""Search of all leaves for the exhaustive top k: every item scored, or those alone that bounds do not rule out.

Compiled. The plain counterparts are `hsnn.serving.search.exact` and `hsnn.trainer.retrieval.score_bounds`, which says
why the bounds hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.retrieval.leaf_scan import Floats, LeafArrays, Rows, ScanQuery, sorted_best
from hsnn.trainer.retrieval.score_bounds import rounding_error

Reals = NDArray[np.float64]


# Bound of the relative rounding error of one float32 operation, twice the true one, and of the absolute error of a root
# of squares that are too small for it.
_UNIT, _LEAST = float(np.finfo(np.float32).eps), 1e-18


class StatesByPlace(NamedTuple):
    """State vectors (P, p) of all items at one time, and biases (P,) of both vectors, by place of `LeafArrays`."""

    vectors: Floats
    bias: Floats


class LeafBounds(NamedTuple):
    """Two enclosures of the vectors of each of K leaves, a box and a ball, and their largest bias.

    A vector is the static and the state vector of an item, w numbers in all; both parts have radii of their own.

    Attributes
    ----------
    low, high, centre : (K, w) float32
        Of an empty leaf zeros.
    radius : (K, 2) float32
    bias, least_bias : (K,) float32
        The largest and the smallest bias; of an empty leaf -inf and inf.
    item_radius : (P, 2) float32
        Distances of each item's parts from the centre of its leaf, by place.
    """

    low: Floats
    high: Floats
    centre: Floats
    radius: Floats
    bias: Floats
    least_bias: Floats
    item_radius: Floats

    @classmethod
    def of_items(cls, arrays: LeafArrays, states: StatesByPlace) -> LeafBounds:
        """Enclose the items of every leaf."""
        split = arrays.vectors.shape[1] - states.vectors.shape[1]
        static = _enclose(arrays.vectors[:, :split], arrays.start, arrays.size)
        state = _enclose(states.vectors, arrays.start, arrays.size)
        low, high, centre = (np.concatenate(parts, axis=1) for parts in zip(static[:3], state[:3], strict=True))
        radius, item_radius = (np.stack(parts, axis=1) for parts in zip(static[3:], state[3:], strict=True))
        bias, least_bias = _bias_range(states.bias, arrays.start, arrays.size)
        return cls(
            low=low,
            high=high,
            centre=centre,
            radius=radius,
            bias=bias,
            least_bias=least_bias,
            item_radius=item_radius,
        )


class UpperBounds(NamedTuple):
    """Bounds of the scores of one request.

    Attributes
    ----------
    leaves : (K,) float64
        Of every item of a leaf; -inf for an empty one.
    box, centre : (K,) float64
        Largest dot product over the box, and that of the centre.
    extra : (K,) float64
        What is added to the dot product and the bias of an item, with the rounding error.
    norms : (2,) float64
        Of the parts of the request's vector.
    item_radius : (P, 2) float32
        As in `LeafBounds`; of length 0: nothing is ruled out.
    """

    leaves: Reals
    box: Reals
    centre: Reals
    extra: Reals
    norms: Reals
    item_radius: Floats

    @classmethod
    def none(cls, leaves: int) -> UpperBounds:
        """Rule nothing out, of K `leaves`."""
        unknown: Reals = np.full(leaves, np.inf)
        return cls(
            leaves=unknown,
            box=unknown,
            centre=unknown,
            extra=unknown,
            norms=np.zeros(2),
            item_radius=np.zeros((0, 2), np.float32),
        )

    @classmethod
    def of_request(cls, bounds: LeafBounds, query: ScanQuery, split: int) -> UpperBounds:
        """Bound the scores of a request, whose vector is for static vectors up to `split`."""
        vector, filled = query.vector.astype(np.float64), bounds.bias > -np.inf
        low, high = bounds.low.astype(np.float64), bounds.high.astype(np.float64)
        if not filled.any():
            return cls.none(len(filled))
        largest = np.maximum(-low, high).max(0)  # (w,)
        terms = np.abs(vector) @ largest + float(max(bounds.bias[filled].max(), -bounds.least_bias[filled].min(), 0))
        terms += np.abs(query.leaf_scores).max() + np.abs(query.boosts).max(initial=0.0)
        error = rounding_error(float(terms), len(vector))
        if not np.isfinite(error):
            return cls.none(len(filled))
        norms = np.array([np.linalg.norm(vector[:split]), np.linalg.norm(vector[split:])])
        # The largest dot product over a box: its upper corner where the vector is positive, else its lower one.
        box = high @ np.maximum(vector, 0) + low @ np.minimum(vector, 0)
        centre = bounds.centre @ vector
        extra = query.leaf_scores.astype(np.float64) + query.boosts.max(initial=0.0) + error
        leaves = np.minimum(box, centre + bounds.radius @ norms) + bounds.bias + extra
        return cls(leaves=leaves, box=box, centre=centre, extra=extra, norms=norms, item_radius=bounds.item_radius)


class _Best(NamedTuple):
    """The best items so far as a heap, the worst of them first: of equal scores the one of the higher row."""

    scores: Floats
    rows: Rows


@compiled
def _enclose(values: Floats, start: Rows, size: Rows) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Enclose the vectors (P, v) of each leaf: low, high and centre (K, v), radius (K,), and that of each item (P,)."""
    leaves, width = len(start), values.shape[1]
    low, high = np.zeros((leaves, width), np.float32), np.zeros((leaves, width), np.float32)
    centre = np.zeros((leaves, width), np.float32)
    radius, item_radius = np.zeros(leaves, np.float32), np.zeros(len(values), np.float32)
    above = np.float32(1 + (width + 4) * _UNIT)
    for leaf in range(leaves):
        first, end = start[leaf], start[leaf] + size[leaf]
        if first == end:
            continue
        for column in range(width):
            low[leaf, column] = high[leaf, column] = values[first, column]
        for place in range(first, end):
            for column in range(width):
                value = values[place, column]
                centre[leaf, column] += value
                low[leaf, column] = value if value < low[leaf, column] else low[leaf, column]
                high[leaf, column] = value if value > high[leaf, column] else high[leaf, column]
        for column in range(width):
            centre[leaf, column] /= np.float32(end - first)
        for place in range(first, end):
            total = np.float32(0)
            for column in range(width):
                away = values[place, column] - centre[leaf, column]
                total += away * away
            item_radius[place] = np.sqrt(total) * above + np.float32(_LEAST)
            radius[leaf] = max(radius[leaf], item_radius[place])
    return low, high, centre, radius, item_radius


@compiled
def _bias_range(bias: Floats, start: Rows, size: Rows) -> tuple[Floats, Floats]:
    """Return the largest and the smallest of the biases (P,) of each leaf, (K,)."""
    largest, least = np.full(len(start), -np.inf, np.float32), np.full(len(start), np.inf, np.float32)
    for leaf in range(len(start)):
        for place in range(start[leaf], start[leaf] + size[leaf]):
            largest[leaf], least[leaf] = max(largest[leaf], bias[place]), min(least[leaf], bias[place])
    return largest, least


@compiled
def _score(arrays: LeafArrays, states: StatesByPlace, query: ScanQuery, place: int | np.int64) -> Any:
    of_state = states.vectors.shape[1]
    split = len(query.vector) - of_state
    total = np.float32(0)
    for column in range(split):
        total += arrays.vectors[place, column] * query.vector[column]
    for column in range(of_state):
        total += states.vectors[place, column] * query.vector[split + column]
    return total + states.bias[place]


@compiled
def _is_worse(best: _Best, one: int, other: int) -> Any:
    scores, rows = best.scores, best.rows
    return scores[one] < scores[other] or (scores[one] == scores[other] and rows[one] > rows[other])


@compiled
def _swap(best: _Best, one: int, other: int) -> None:
    best.scores[one], best.scores[other] = best.scores[other], best.scores[one]
    best.rows[one], best.rows[other] = best.rows[other], best.rows[one]


@compiled
def _keep(best: _Best, held: int, score: np.float32, row: np.int64) -> int:
    """Keep an item if it is among the best; return how many are held."""
    wanted = len(best.scores)
    if held < wanted:
        best.scores[held], best.rows[held] = score, row
        at = held
        while at > 0 and _is_worse(best, at, (at - 1) // 2):
            _swap(best, at, (at - 1) // 2)
            at = (at - 1) // 2
        return held + 1
    if score < best.scores[0] or (score == best.scores[0] and row > best.rows[0]):
        return held
    best.scores[0], best.rows[0], at = score, row, 0
    while 2 * at + 1 < wanted:
        child = 2 * at + 1
        if child + 1 < wanted and _is_worse(best, child + 1, child):
            child += 1
        if not _is_worse(best, child, at):
            break
        _swap(best, at, child)
        at = child
    return held


@compiled
def search_leaves(
    arrays: LeafArrays, states: StatesByPlace, query: ScanQuery, *, order: Rows, upper: UpperBounds, wanted: int
) -> tuple[Rows, Floats, int, int, int]:
    """Find the best `wanted` > 0 of the items whose rows ``query.mask`` has, which may not be empty.

    Leaves are opened in the `order` (K,) of falling bounds, until the worst item that is kept is above the bound of the
    next one. Items of ``query.pair_rows`` are scored first, as bounds know nothing of what is added to them; they are
    taken out of the mask. ``query.excluded`` is not looked at.

    Returns
    -------
    rows : (<= wanted,) int64
        Best first; of equal scores the lower row first.
    scores : (<= wanted,) float32
    scored, candidates, opened : int
        Items scored, allowed items of opened leaves and of pairs, leaves opened.
    """
    best = _Best(np.empty(wanted, np.float32), np.empty(wanted, np.int64))
    held = scored = opened = candidates = 0
    mask, bounded, boosted = query.mask, len(upper.item_radius) > 0, len(query.boosts)
    for number in range(len(query.pair_rows)):
        row = query.pair_rows[number]
        if row < len(mask) and row < len(arrays.place) and mask[row] and arrays.place[row] >= 0:
            mask[row] = False
            place = arrays.place[row]
            if arrays.until[place] > query.departed_to:
                score = _score(arrays, states, query, place) + query.leaf_scores[arrays.leaf[row]]
                score += query.pair_scores[number]
                if row < boosted:
                    score += query.boosts[row]
                held = _keep(best, held, score, row)
                scored += 1
    candidates = scored
    for leaf in order:
        if arrays.size[leaf] == 0:
            continue
        if held == wanted and upper.leaves[leaf] < best.scores[0]:
            break
        opened += 1
        added, first = query.leaf_scores[leaf], arrays.start[leaf]
        for place in range(first, first + arrays.size[leaf]):
            row = np.int64(arrays.row[place])
            if row >= len(mask) or not mask[row] or arrays.until[place] <= query.departed_to:
                continue
            candidates += 1
            if bounded and held == wanted:
                ball = upper.centre[leaf]
                for part in range(2):
                    ball += upper.norms[part] * upper.item_radius[place, part]
                if min(upper.box[leaf], ball) + states.bias[place] + upper.extra[leaf] < best.scores[0]:
                    continue
            score = _score(arrays, states, query, place) + added
            if row < boosted:
                score += query.boosts[row]
            scored += 1
            if held < wanted or score >= best.scores[0]:
                held = _keep(best, held, score, row)
    scores, rows = sorted_best(best.scores[:held], best.rows[:held], held)
    return rows, scores, scored, candidates, opened
