"""Scan of opened leaves: the dot product of every allowed item, and the best of them. Compiled, without torch.

Each function has a plain counterpart in `hsnn.serving.search.modes`, which the tests hold it to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled

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
def place_of(rows: Rows, row: int | np.int64) -> Any:
    """Return where a row is in ascending `rows` (n,); -1 for nowhere."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) >> 1
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low if low < len(rows) and rows[low] == row else -1


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
def _passes(mask: NDArray[np.bool_], row: int | np.int64) -> Any:
    return len(mask) == 0 or (row < len(mask) and mask[row])


@compiled
def _order_scores(arrays: LeafArrays, query: ScanQuery, places: Rows, scores: Floats) -> None:
    """Write what orders the items at `places` (n,) within their leaf: dot products and biases, or cosines."""
    vectors, bias, vector = arrays.vectors, arrays.bias, query.vector
    width = len(vector)
    if query.cosine:
        for number in range(len(places)):
            place, total, squares = places[number], np.float32(0), np.float32(0)
            for column in range(width):
                total += vectors[place, column] * vector[column]
                squares += vectors[place, column] * vectors[place, column]
            scores[number] = total / np.sqrt(squares) if squares > 0 else np.float32(0)
        return
    for number in range(len(places)):
        place, total = places[number], np.float32(0)
        for column in range(width):
            total += vectors[place, column] * vector[column]
        scores[number] = total + bias[place]


@compiled
def _list_leaf(arrays: LeafArrays, query: ScanQuery, leaf: int | np.int64, places: Rows) -> int:
    """List the places of the retrievable items of a leaf that pass the filters; return how many."""
    until, rows, mask, departed_to = arrays.until, arrays.row, query.mask, query.departed_to
    count, first, end = 0, arrays.start[leaf], arrays.start[leaf] + arrays.size[leaf]
    if len(mask) == 0:
        for place in range(first, end):
            places[count] = place
            count += until[place] > departed_to
        return count
    for place in range(first, end):
        places[count] = place
        row = rows[place]
        count += until[place] > departed_to and row < len(mask) and mask[row]
    return count


@compiled
def _excluded_by_leaf(arrays: LeafArrays, query: ScanQuery) -> Rows:
    """Count the excluded items of each leaf (K,) that are listed with it."""
    until, place, leaf_of, mask = arrays.until, arrays.place, arrays.leaf, query.mask
    left_out = np.zeros(len(arrays.start), np.int64)
    for row in query.excluded:
        leaf = leaf_of[row] if 0 <= row < len(leaf_of) else -1
        if leaf >= 0 and _passes(mask, row) and until[place[row]] > query.departed_to:
            left_out[leaf] += 1
    return left_out


@compiled
def _list_pairs(arrays: LeafArrays, query: ScanQuery, places: Rows, numbers: Rows) -> int:
    """List the places of the retrievable items that pairs name and that pass, and their numbers; return how many."""
    until, places_of, mask, excluded, pair_rows = (
        arrays.until,
        arrays.place,
        query.mask,
        query.excluded,
        query.pair_rows,
    )
    count = 0
    for number in range(len(pair_rows)):
        row = pair_rows[number]
        if row >= len(places_of) or places_of[row] < 0 or not _passes(mask, row):
            continue
        if until[places_of[row]] <= query.departed_to or place_of(excluded, row) >= 0:
            continue
        places[count], numbers[count] = places_of[row], number
        count += 1
    return count


@compiled
def scan_leaves(
    arrays: LeafArrays, query: ScanQuery, opening: Opening, wanted: int
) -> tuple[Rows, Floats, int, int, int]:
    """Open leaves, best first, as far as `opening` says, and select the best `wanted` of their allowed items.

    Returns
    -------
    rows : (<= wanted,) int64
        In no order.
    order_scores : (<= wanted,) float32
    considered, dots, opened : int
        Allowed items of the opened leaves; candidates with those that pairs name elsewhere; leaves opened.
    """
    # Names of their own: a tuple of arrays is copied with every use that the compiler does not see through.
    row_of, leaf_of, sizes = arrays.row, arrays.leaf, arrays.size
    logits, leaf_scores, boosts = query.leaf_logits, query.leaf_scores, query.boosts
    excluded, pair_rows, pair_scores = query.excluded, query.pair_rows, query.pair_scores
    leaves, pairs, left_out = len(sizes), len(pair_rows), _excluded_by_leaf(arrays, query)
    heap, size, largest = np.empty(leaves, np.int64), 0, pairs
    for leaf in range(leaves):
        if sizes[leaf] > 0 and logits[leaf] > -np.inf:
            heap[size] = leaf
            size += 1
            largest = max(largest, sizes[leaf])
    for at in range(size // 2 - 1, -1, -1):
        _sink(heap, logits, at, size)
    # A row is kept only if its score reaches that of the last one wanted when the room was full for the last time.
    room = 2 * wanted + 64
    scores, rows = np.empty(room + pairs, np.float32), np.empty(room + pairs, np.int64)
    places, found = np.empty(largest + 1, np.int64), np.empty(largest + 1, np.float32)
    opened_leaves = np.zeros(leaves, np.bool_)
    count = considered = opened = 0
    threshold = np.float32(-np.inf)
    while size > 0 and considered < opening.dots and (opened < opening.beam or considered < opening.least):
        leaf = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sink(heap, logits, 0, size)
        opened += 1
        opened_leaves[leaf] = True
        listed, added = _list_leaf(arrays, query, leaf, places), leaf_scores[leaf]
        _order_scores(arrays, query, places[:listed], found)
        considered += listed - left_out[leaf]
        for number in range(listed):
            row, score = np.int64(row_of[places[number]]), found[number] + added
            if row < len(boosts):
                score += boosts[row]
            if score < threshold or place_of(excluded, row) >= 0 or place_of(pair_rows, row) >= 0:
                continue
            scores[count], rows[count] = score, row
            count += 1
            if count == room:
                keep_best(scores, rows, count, wanted)
                count = wanted
                threshold = scores[0]
                for kept in range(1, wanted):
                    threshold = min(threshold, scores[kept])
    candidates, numbers = considered, np.empty(pairs, np.int64)
    listed = _list_pairs(arrays, query, places, numbers)
    _order_scores(arrays, query, places[:listed], found)
    for at in range(listed):
        number = numbers[at]
        row = pair_rows[number]
        leaf = leaf_of[row]
        candidates += not opened_leaves[leaf]
        score = found[at] + leaf_scores[leaf] + pair_scores[number]
        if row < len(boosts):
            score += boosts[row]
        scores[count], rows[count] = score, row
        count += 1
    return *_chosen(scores[:count], rows[:count], wanted), considered, candidates, opened


@compiled
def scan_rows(arrays: LeafArrays, query: ScanQuery, rows: Rows, wanted: int) -> tuple[Rows, Floats, int]:
    """Select the best `wanted` of those of ascending `rows` (n,) that are allowed.

    Returns
    -------
    rows : (<= wanted,) int64
        In no order.
    order_scores : (<= wanted,) float32
    considered : int
        Allowed rows.
    """
    until, places_of, leaf_of, excluded = arrays.until, arrays.place, arrays.leaf, query.excluded
    leaf_scores, boosts, pair_rows, pair_scores = query.leaf_scores, query.boosts, query.pair_rows, query.pair_scores
    scores, kept, places = np.empty(len(rows), np.float32), np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    count = pair = 0
    for row in rows:
        if row >= len(places_of) or places_of[row] < 0 or place_of(excluded, row) >= 0:
            continue
        if until[places_of[row]] > query.departed_to:
            places[count], kept[count] = places_of[row], row
            count += 1
    _order_scores(arrays, query, places[:count], scores)
    for number in range(count):
        row = kept[number]
        score = scores[number] + leaf_scores[leaf_of[row]]
        while pair < len(pair_rows) and pair_rows[pair] < row:
            pair += 1
        if pair < len(pair_rows) and pair_rows[pair] == row:
            score += pair_scores[pair]
        if row < len(boosts):
            score += boosts[row]
        scores[number] = score
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
    """Return the best `wanted` rows, in no order, and their scores; both arrays are reordered."""
    if len(rows) > wanted:
        keep_best(scores, rows, len(rows), wanted)
    return rows[:wanted], scores[:wanted]
