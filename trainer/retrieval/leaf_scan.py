"""Scan of opened leaves: the dot product of every allowed item, and the best of them. Compiled, without torch.

Each function has a plain counterpart in `hsnn.serving.search.modes`, which the tests hold it to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.retrieval.compiled import compiled

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


class LeafArrays(NamedTuple):
    """Records of items, leaf by leaf, P places in all; a leaf has a contiguous extent of them, with spare room.

    Attributes
    ----------
    vectors : (P, w) float32
        Static vector, then state vector.
    bias : (P,) float32
        Biases of both, with popularity decayed to the moment of the last refresh.
    undecayed : (P,) float32
        The same without popularity.
    row : (P,) int32
        Row of the item; -1 where there is none.
    until : (P,) int64
        Time from which the item is not retrievable, epoch ms.
    start, size, room : (K,) int64
        First place of each leaf, items in it, and places that it has.
    place : (rows,) int64
        Place of each row; -1 for none.
    leaf : (rows,) int32
        Leaf of each row; -1 for none.
    """

    vectors: Floats
    bias: Floats
    undecayed: Floats
    row: NDArray[np.int32]
    until: Rows
    start: Rows
    size: Rows
    room: Rows
    place: Rows
    leaf: NDArray[np.int32]


class ScanQuery(NamedTuple):
    """One request, as the scan takes it.

    Attributes
    ----------
    vector : (w,) float32
    leaf_scores : (K,) float32
        What a leaf adds to the scores of its items.
    leaf_logits : (K,) float32
        Leaves are opened by falling logit; those of -inf never.
    mask : (m,) bool
        Rows that pass the filters; of length 0: all.
    boosts : (b,) float32
        Added by row; rows beyond its end get none.
    excluded : (E,) int64, ascending
        Rows that are left out.
    pair_rows, pair_scores : (n,) int64, ascending, and float32
        Further candidates, wherever they are, and what is added to their scores.
    departed_to : int
        Time up to which ends of availability are obeyed, epoch ms.
    cosine : bool
        Whether items are scored by the cosine of `vector`, which then has length 1 and the width of the static vectors,
        and of their static vectors, without biases.
    """

    vector: Floats
    leaf_scores: Floats
    leaf_logits: Floats
    mask: NDArray[np.bool_]
    boosts: Floats
    excluded: Rows
    pair_rows: Rows
    pair_scores: Floats
    departed_to: int
    cosine: bool = False


class Opening(NamedTuple):
    """How far leaves are opened.

    Attributes
    ----------
    beam : int
        Leaves, unless these hold too few allowed items.
    dots : int
        Allowed items, after which no other leaf is opened.
    least : int
        Allowed items that must be found whatever the beam; behind a filter, as many as without it.
    """

    beam: int
    dots: int
    least: int


@compiled
def _contains(rows: Rows, row: int | np.int64) -> Any:
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low < len(rows) and rows[low] == row


@compiled
def keep_best(scores: Floats, rows: Rows, count: int, wanted: int) -> None:
    """Bring the best `wanted` of the first `count` to the front, in no order; of equal scores the lower rows."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) >> 1
        pivot, pivot_row = scores[middle], rows[middle]
        left, right = low, high
        while left <= right:
            while scores[left] > pivot or (scores[left] == pivot and rows[left] < pivot_row):
                left += 1
            while scores[right] < pivot or (scores[right] == pivot and rows[right] > pivot_row):
                right -= 1
            if left <= right:
                scores[left], scores[right] = scores[right], scores[left]
                rows[left], rows[right] = rows[right], rows[left]
                left += 1
                right -= 1
        if wanted - 1 <= right:
            high = right
        elif wanted - 1 >= left:
            low = left
        else:
            return


@compiled
def _sink(heap: Rows, logits: Floats, at: int, size: int) -> None:
    """Restore the order of a heap of leaves, highest logit first, of equal ones the lower leaf, below a place."""
    leaf = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        one = heap[child]
        if child + 1 < size:
            other = heap[child + 1]
            if logits[other] > logits[one] or (logits[other] == logits[one] and other < one):
                child += 1
                one = other
        if logits[one] > logits[leaf] or (logits[one] == logits[leaf] and one < leaf):
            heap[at] = one
            at = child
        else:
            break
    heap[at] = leaf


@compiled
def _passes(query: ScanQuery, row: int | np.int64) -> Any:
    return len(query.mask) == 0 or (row < len(query.mask) and query.mask[row])


@compiled
def _order_score(arrays: LeafArrays, query: ScanQuery, place: int | np.int64) -> Any:
    total = np.float32(0)
    for column in range(len(query.vector)):
        total += arrays.vectors[place, column] * query.vector[column]
    if not query.cosine:
        return total + arrays.bias[place]
    squares = np.float32(0)
    for column in range(len(query.vector)):
        squares += arrays.vectors[place, column] * arrays.vectors[place, column]
    return total / np.sqrt(squares) if squares > 0 else np.float32(0)


@compiled
def scan_leaves(
    arrays: LeafArrays, query: ScanQuery, opening: Opening, wanted: int
) -> tuple[Rows, Floats, int, int, int]:
    """Open leaves, best first, as far as `opening` says, and select the best `wanted` of their allowed items.

    Returns
    -------
    rows : (<= wanted,) int64
        Ascending.
    order_scores : (<= wanted,) float32
    considered, dots, opened : int
        Allowed items of the opened leaves; candidates with those that pairs name elsewhere; leaves opened.
    """
    leaves, room = len(arrays.start), 2 * wanted + 64
    scores, rows = np.empty(room, np.float32), np.empty(room, np.int64)
    left_out = np.zeros(leaves, np.int64)  # excluded items of each leaf that the scan would count
    for row in query.excluded:
        leaf = arrays.leaf[row] if 0 <= row < len(arrays.leaf) else -1
        if leaf >= 0 and _passes(query, row) and arrays.until[arrays.place[row]] > query.departed_to:
            left_out[leaf] += 1
    heap, size = np.empty(leaves, np.int64), 0
    for leaf in range(leaves):
        if arrays.size[leaf] > 0 and query.leaf_logits[leaf] > -np.inf:
            heap[size] = leaf
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        _sink(heap, query.leaf_logits, at, size)
    opened_leaves = np.zeros(leaves, np.bool_)
    count = considered = opened = 0
    threshold = np.float32(-np.inf)
    masked, boosted = len(query.mask) > 0, len(query.boosts) > 0
    while size > 0 and considered < opening.dots and (opened < opening.beam or considered < opening.least):
        leaf = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sink(heap, query.leaf_logits, 0, size)
        opened += 1
        opened_leaves[leaf] = True
        considered -= left_out[leaf]
        first, added = arrays.start[leaf], query.leaf_scores[leaf]
        for place in range(first, first + arrays.size[leaf]):
            if arrays.until[place] <= query.departed_to:
                continue
            row = np.int64(arrays.row[place])
            if masked and (row >= len(query.mask) or not query.mask[row]):
                continue
            considered += 1
            score = _order_score(arrays, query, place) + added
            if boosted and row < len(query.boosts):
                score += query.boosts[row]
            if score < threshold or _contains(query.excluded, row) or _contains(query.pair_rows, row):
                continue
            scores[count], rows[count] = score, row
            count += 1
            if count == room:
                keep_best(scores, rows, count, wanted)
                count = wanted
                threshold = scores[0]
                for number in range(1, wanted):
                    threshold = min(threshold, scores[number])
    candidates = considered
    all_scores = np.empty(count + len(query.pair_rows), np.float32)
    all_rows = np.empty(count + len(query.pair_rows), np.int64)
    for number in range(count):
        all_scores[number], all_rows[number] = scores[number], rows[number]
    for number in range(len(query.pair_rows)):
        row = query.pair_rows[number]
        if row >= len(arrays.place) or arrays.place[row] < 0 or not _passes(query, row):
            continue
        place, leaf = arrays.place[row], arrays.leaf[row]
        if arrays.until[place] <= query.departed_to or _contains(query.excluded, row):
            continue
        if not opened_leaves[leaf]:
            candidates += 1
        score = _order_score(arrays, query, place) + query.leaf_scores[leaf] + query.pair_scores[number]
        if row < len(query.boosts):
            score += query.boosts[row]
        all_scores[count], all_rows[count] = score, row
        count += 1
    return *_chosen(all_scores[:count], all_rows[:count], wanted), considered, candidates, opened


@compiled
def scan_rows(arrays: LeafArrays, query: ScanQuery, rows: Rows, wanted: int) -> tuple[Rows, Floats, int]:
    """Select the best `wanted` of those of ascending `rows` (n,) that are allowed.

    Returns
    -------
    rows : (<= wanted,) int64
        Ascending.
    order_scores : (<= wanted,) float32
    considered : int
        Allowed rows.
    """
    scores, kept = np.empty(len(rows), np.float32), np.empty(len(rows), np.int64)
    count = pair = 0
    for row in rows:
        if row >= len(arrays.place) or arrays.place[row] < 0 or _contains(query.excluded, row):
            continue
        place = arrays.place[row]
        if arrays.until[place] <= query.departed_to:
            continue
        score = _order_score(arrays, query, place) + query.leaf_scores[arrays.leaf[row]]
        while pair < len(query.pair_rows) and query.pair_rows[pair] < row:
            pair += 1
        if pair < len(query.pair_rows) and query.pair_rows[pair] == row:
            score += query.pair_scores[pair]
        if row < len(query.boosts):
            score += query.boosts[row]
        scores[count], kept[count] = score, row
        count += 1
    return *_chosen(scores[:count], kept[:count], wanted), count


@compiled
def sorted_best(scores: Floats, rows: Rows, wanted: int) -> tuple[Floats, Rows]:
    """Return the best `wanted` scores, best first, and their rows; of equal scores the lower row first.

    Both arrays are reordered.
    """
    if len(rows) > wanted:
        keep_best(scores, rows, len(rows), wanted)
        scores, rows = scores[:wanted], rows[:wanted]
    gap = 1
    while 3 * gap < len(rows):
        gap = 3 * gap + 1
    while gap > 0:
        for number in range(gap, len(rows)):
            row, score, at = rows[number], scores[number], number
            while at >= gap and (scores[at - gap] < score or (scores[at - gap] == score and rows[at - gap] > row)):
                rows[at], scores[at] = rows[at - gap], scores[at - gap]
                at -= gap
            rows[at], scores[at] = row, score
        gap //= 3
    return scores, rows


@compiled
def _chosen(scores: Floats, rows: Rows, wanted: int) -> tuple[Rows, Floats]:
    """Return the best `wanted` rows, ascending, and their scores; both arrays are reordered."""
    if len(rows) > wanted:
        keep_best(scores, rows, len(rows), wanted)
        scores, rows = scores[:wanted], rows[:wanted]
    gap = 1
    while 3 * gap < len(rows):
        gap = 3 * gap + 1
    while gap > 0:  # Shell's sort: NumPy's sorts take half of the time that compiling all kernels takes
        for number in range(gap, len(rows)):
            row, score, at = rows[number], scores[number], number
            while at >= gap and rows[at - gap] > row:
                rows[at], scores[at] = rows[at - gap], scores[at - gap]
                at -= gap
            rows[at], scores[at] = row, score
        gap //= 3
    return rows, scores
