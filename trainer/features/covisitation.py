"""Co-visitation: which items the same users engage with shortly before or after an item, as decayed weights.

Every item row has two bounded lists of neighbours, one per half-life, and the time as of which their weights hold. As
in `hsnn.trainer.features.item_counters`, a read at a later time decays them exactly, so only updated rows
change. The scores are dense user-item cross features for HSNN's interaction tower (arXiv 2408.06653 §3); see
`hsnn.trainer.features.cross_features`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled_in_order
from hsnn.trainer.features.user_history import removed_mask
from hsnn.trainer.messages import COVISIT_HALF_LIVES, NEIGHBOURS
from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

RECENT_ITEMS = 5
"""Newest items of a history that are paired with the next one."""

# Weight of a pair from the newer to the older item, as a fraction of its forward weight: the same two engagements are
# evidence for the opposite order too, but weaker evidence.
_BACKWARD = 0.5

# Forward weight below which a pair counts nothing at a half-life (the newest history item: after 7 half-lives):
# a pair of weight 0 is not entered into the bounded list, so it evicts no neighbour.
_LEAST = 1 / 128

_HALF_LIVES = np.array(COVISIT_HALF_LIVES)

# Pseudo-weight in the denominator of a share, in pairs: one single pair gives a share of 1/2, not of 1.
_PRIOR = 1.0

# New neighbours per list and batch that are admitted whatever their weight: a single pair weighs 1 at most and would
# never get into a list whose weights have all grown beyond that.
_LET_IN = 2

# Indices of the half-lives (C, 1), against rows (n,).
_COLUMNS = np.arange(len(COVISIT_HALF_LIVES))[:, None]


class Covisitation:
    """Bounded neighbour lists of all items, by row.

    Pairs are those of `item_pairs`. A new neighbour replaces the smallest weight of its list: of the new ones of a
    batch, heaviest first, the first two always, the others only if they are heavier.

    Parameters
    ----------
    rows
        Initial capacity; 0 if nothing will be counted.

    Attributes
    ----------
    neighbours : (rows, 2, N) int32
        Item rows, -1 where a slot is free.
    weights : (rows, 2, N) float32
        Decayed weights of the pairs row -> neighbour, as of `last`.
    totals : (rows, 2) float32
        Decayed weight of all pairs of a row, also of neighbours evicted from the list; as of `last`.
    last : (rows,) int64
        Time of the row's newest pair, epoch ms; 0 = none yet.
    barrier : WriteBarrier

    Examples
    --------
    >>> pairs = Covisitation(rows=4)
    >>> pairs.update(np.array([[-1, 2]]), np.array([[0, 9]]), np.array([3]), np.array([9])).tolist()
    [2, 3]
    >>> pairs.neighbours[2, 0, :2].tolist(), pairs.weights[3, 0, :2].tolist()
    ([3, -1], [0.5, 0.0])
    >>> pairs.scores_of_query(np.array([2]), 9, np.array([1, 3])).round(2)
    array([[0.  , 0.  ],
           [0.41, 0.41]], dtype=float32)
    """

    def __init__(self, rows: int = 1024) -> None:
        lists = (rows, len(COVISIT_HALF_LIVES), NEIGHBOURS)
        self.neighbours: NDArray[np.int32] = np.full(lists, -1, np.int32)
        self.weights: NDArray[np.float32] = np.zeros(lists, np.float32)
        self.totals: NDArray[np.float32] = np.zeros(lists[:2], np.float32)
        self.last: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.barrier = WriteBarrier()

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.neighbours, self.weights = grown(self.neighbours, rows, -1), grown(self.weights, rows)
        self.totals, self.last = grown(self.totals, rows), grown(self.last, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"neighbours": self.neighbours, "weights": self.weights, "totals": self.totals, "last": self.last}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.neighbours = columns["neighbours"].copy()
        self.weights = columns["weights"].copy()
        self.totals = columns["totals"].copy()
        self.last = columns["last"].copy()

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset the lists of `rows`; `remove_items` takes them out of other rows' lists, too."""
        self.barrier.before_write(rows)
        self.neighbours[rows], self.weights[rows], self.totals[rows], self.last[rows] = -1, 0, 0, 0

    def remove_items(self, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Remove items, by row: their own lists and their slots in others'; return the rows that changed."""
        rows, left = np.flatnonzero(gone[: len(self.last)]), removed_mask(self.neighbours, gone)
        changed = np.union1d(rows, np.flatnonzero(left.any((1, 2))))
        self.barrier.before_write(changed)
        self.neighbours[rows], self.weights[rows], self.totals[rows], self.last[rows] = -1, 0, 0, 0
        self.neighbours[left], self.weights[left] = -1, 0
        return changed

    def set_rows(
        self,
        rows: NDArray[np.integer],
        neighbours: NDArray[np.int32],
        weights: NDArray[np.float32],
        totals: NDArray[np.float32],
        last: NDArray[np.int64],
    ) -> None:
        """Overwrite the lists of `rows` with published ones (the server's mirror)."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        self.neighbours[rows], self.weights[rows] = neighbours, weights
        self.totals[rows], self.last[rows] = totals, last

    def update(
        self,
        history_items: NDArray[np.integer],
        history_times: NDArray[np.int64],
        items: NDArray[np.integer],
        ts: NDArray[np.int64],
        weights: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Count the pairs of B events with the items that their users engaged with before.

        Parameters
        ----------
        history_items, history_times : (B, L)
            Item rows just before each event, newest last, -1 padded in front; epoch ms.
        items, ts : (B,)
            The events' items, below the reserved rows, and times (epoch ms).
        weights : (B,)
            What an event's pairs are multiplied by; None for 1.

        Returns
        -------
        (n,) int64
            The rows that changed, ascending: items of the events and of the histories.
        """
        pairs = item_pairs(history_items, history_times, items, ts, event_weights=weights)
        rows, inverse = np.unique(pairs.source, return_inverse=True)
        self.barrier.before_write(rows)
        # A list has one time stamp: it moves to its newest pair, and older pairs of the batch are decayed to that time.
        weighed = pairs.weights * decayed(self._advance(rows, inverse, pairs.ts)[inverse] - pairs.ts)  # (n, 2)
        self.totals[rows] += _sums(inverse, weighed, len(rows))
        # Equal pairs are summed first: a new neighbour has to come with its whole weight.
        keys, same = np.unique(inverse * len(self.last) + pairs.target, return_inverse=True)
        source, target = np.divmod(keys, len(self.last))
        added = _sums(same, weighed, len(keys))
        _add(self.neighbours, self.weights, rows[source], targets=target, added=added)
        return rows

    def scores(
        self, history_items: NDArray[np.integer], now: NDArray[np.int64], candidates: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Score candidates by the share of each history's co-visitation weight that they have, at both half-lives.

        The sum over the last five history items of their pair's share, ``weight / (1 + total)``, both decayed to `now`,
        as ``log(1 + x)``. The 1 smooths the share towards 0 where there is little evidence.

        Parameters
        ----------
        history_items : (B, L)
            Newest last, -1 padded in front.
        now : (B,) int64
            Epoch ms.
        candidates : (U,)
            Item rows, each once.

        Returns
        -------
        (B, U, 2) float32
        """
        # Look-up from item row to candidate. It has one entry more than rows: a free slot's row -1 reads that last one.
        places = np.full(int(max(len(self.last), candidates.max(initial=-1) + 1)) + 1, -1)
        places[candidates] = np.arange(len(candidates))
        query, rows = _recent(history_items)
        neighbours, shares = self._shares(rows, now[query])
        return _scatter_shares(query, places[neighbours], shares, (len(now), len(candidates)))

    def scores_of_query(
        self, history: NDArray[np.integer], now: int, candidates: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Compute `scores` of one history (L,) against candidates (n,), ascending: the same bits, (n, 2) float32."""
        query, rows = _recent(history[None])
        neighbours, shares = self._shares(rows, np.full(len(rows), now))
        # A binary search instead of the table of `scores`, which costs time in all items for a single query.
        places = np.searchsorted(candidates, neighbours)  # (n, 2, N)
        present = np.append(candidates, -2)[places] == neighbours  # -2: neither a row nor a free slot, equals nothing
        places = np.where(present, places, -1)
        scores: NDArray[np.float32] = _scatter_shares(query, places, shares, (1, len(candidates)))[0]
        return scores

    def _advance(self, rows: NDArray[np.int64], inverse: NDArray[np.int64], ts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decay the lists of `rows` (m,) to the time of their newest pair, (m,), and return these times.

        Pair i, of time ``ts[i]``, belongs to ``rows[inverse[i]]``. Times never move back: a late pair leaves `last`.
        """
        latest = self.last[rows]
        np.maximum.at(latest, inverse, ts)
        decay = decayed(latest - self.last[rows]).astype(np.float32)  # (n, 2)
        self.totals[rows] *= decay
        self.weights[rows] *= decay[..., None]
        self.last[rows] = latest
        return latest

    def counts(
        self, rows: NDArray[np.integer], now: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the neighbours of `rows` (n,) and their weights at `now` (n,): both (n, 2, N)."""
        decay = decayed(np.maximum(now - self.last[rows], 0)).astype(np.float32)  # (n, 2)
        return gather_rows(self.neighbours, rows), gather_rows(self.weights, rows) * decay[..., None]

    def _shares(
        self, rows: NDArray[np.integer], now: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the neighbours of `rows` (n,) and their shares at `now` (n,): both (n, 2, N)."""
        decay = decayed(np.maximum(now - self.last[rows], 0)).astype(np.float32)  # (n, 2)
        # Weight and total decay by one factor, so both are scaled at once; the prior does not decay.
        scale = decay / (_PRIOR + self.totals[rows] * decay)
        return gather_rows(self.neighbours, rows), gather_rows(self.weights, rows) * scale[..., None]


def _recent(history_items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flatten the newest items of histories (B, L): their query and their row, (n,) each."""
    recent = history_items[:, -RECENT_ITEMS:]
    query, column = np.nonzero(recent >= 0)
    return query, recent[query, column].astype(np.int64)


def _scatter_shares(
    query: NDArray[np.int64], places: NDArray[np.int64], shares: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Sum `shares` (n, 2, N) by query, candidate and half-life, as log(1 + x); `places` are candidates or -1."""
    out = np.zeros((*shape, len(COVISIT_HALF_LIVES)), np.float32)
    flat, present = out.reshape(-1), places >= 0
    cells = (query[:, None, None] * shape[1] + places) * len(COVISIT_HALF_LIVES) + _COLUMNS  # (n, 2, N)
    cells = cells[present]
    np.add.at(flat, cells, shares[present])
    # Only where something was added (log1p(0) = 0). A repeated cell gets one value: the right-hand side is read first.
    flat[cells] = np.log1p(flat[cells])
    return out


@compiled_in_order
def _add(
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    rows: NDArray[np.int64],
    targets: NDArray[np.int64],
    added: NDArray[np.float32],
) -> None:
    """Add weights `added` (n, 2) of distinct pairs, by ascending row: to the slots of known neighbours, else as new."""
    new = np.empty(len(rows), np.int64)
    for half_life in range(neighbours.shape[1]):
        start = 0
        while start < len(rows):
            row, end, count = rows[start], start, 0
            near, counted = neighbours[row, half_life], weights[row, half_life]
            while end < len(rows) and rows[end] == row:
                place = _place_of(near, targets[end])
                if place >= 0:
                    counted[place] += added[end, half_life]
                elif added[end, half_life] > 0:
                    at = count  # heaviest first, equal ones in their given order
                    while at > 0 and added[new[at - 1], half_life] < added[end, half_life]:
                        new[at] = new[at - 1]
                        at -= 1
                    new[at], count = end, count + 1
                end += 1
            if count:
                _insert(near, counted, targets[new[:count]], added[new[:count], half_life])
            start = end


@compiled_in_order
def _place_of(near: NDArray[np.int32], target: int) -> int:
    for place in range(len(near)):
        if near[place] == target:
            return place
    return -1


@compiled_in_order
def _insert(
    near: NDArray[np.int32], counted: NDArray[np.float32], targets: NDArray[np.int64], added: NDArray[np.float32]
) -> None:
    """Insert new neighbours (n,), heaviest first, over the smallest weights of a list; see `Covisitation`."""
    smallest = np.argsort(counted, kind="mergesort")  # stable
    before = counted.copy()
    for rank in range(min(len(targets), len(near))):
        place = smallest[rank]
        if rank < _LET_IN or added[rank] > before[place]:
            near[place], counted[place] = targets[rank], added[rank]


def _sums(groups: NDArray[np.int64], weights: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Sum `weights` (n, 2) by group: (count, 2)."""
    columns = [np.bincount(groups, column, count) for column in weights.T]
    return np.stack(columns, 1).astype(np.float32)


class ItemPairs(NamedTuple):
    """Directed pairs of items, forward ones first.

    Attributes
    ----------
    source, target : (n,) int64
        Item rows.
    ts : (n,) int64
        Time of the engagement with the later of the two, epoch ms.
    weights : (n, 2) float64
        At both half-lives, as of `ts`.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float64]


def item_pairs(
    history_items: NDArray[np.integer],
    history_times: NDArray[np.int64],
    items: NDArray[np.integer],
    ts: NDArray[np.int64],
    event_weights: NDArray[np.float32] | None = None,
) -> ItemPairs:
    """Make both directions of every pair of one of the last five items of a history and the item that came next.

    A pair of items that are `gap` ms and `p` positions apart weighs ``2^(-gap/half-life) / p`` from the older to the
    newer one, and half of that backwards; at a half-life at which the former is below 1/128 both are 0.

    Parameters
    ----------
    history_items, history_times : (B, L)
        Newest last, -1 padded in front; epoch ms.
    items, ts : (B,)
    event_weights : (B,)
        What the pairs of an event are multiplied by in the end; None for 1.

    Examples
    --------
    >>> pairs = item_pairs(np.array([[5, 7]]), np.array([[0, 0]]), np.array([9]), np.array([3_600_000]))
    >>> pairs.source.tolist(), pairs.target.tolist(), pairs.weights[:, 0].tolist()
    ([5, 7, 9, 9], [9, 9, 5, 7], [0.25, 0.5, 0.125, 0.25])
    """
    recent = history_items[:, -RECENT_ITEMS:]
    event, column = np.nonzero((recent >= 0) & (recent != items[:, None]))
    old, new, later = recent[event, column], items[event], ts[event]
    apart = recent.shape[1] - column  # 1 for the newest
    weights = decayed(np.maximum(later - history_times[:, -RECENT_ITEMS:][event, column], 0)) / apart[:, None]  # (n, 2)
    weights[weights < _LEAST] = 0
    if event_weights is not None:
        weights *= event_weights[event, None]
    return ItemPairs(
        np.r_[old, new].astype(np.int64),
        np.r_[new, old].astype(np.int64),
        np.r_[later, later],
        np.r_[weights, _BACKWARD * weights],
    )


def decayed(elapsed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the decay factors after `elapsed` (n,) ms at both half-lives: (n, 2)."""
    left: NDArray[np.float64] = np.exp2(-elapsed[:, None] / _HALF_LIVES)
    return left
