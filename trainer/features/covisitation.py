"""Co-visitation: which items the same users engage with shortly before or after an item, as decayed weights.

Every item row has two bounded lists of neighbours, one per half-life, and the time at which their weights were true. As
in `hsnn.trainer.features.item_counters`, a reading at a later time decays them exactly, so only touched rows ever
change. The scores are dense user-item cross features for HSNN's interaction tower (arXiv 2408.06653 §3); see
`hsnn.trainer.features.cross_features`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.user_history import removed_mask
from hsnn.trainer.messages import COVISIT_HALF_LIVES, NEIGHBOURS
from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

RECENT_ITEMS = 5
"""How many of a history's newest items make a pair with the next one."""

# Weight of a pair from the newer to the older item, as a fraction of its forward weight: the same two engagements are
# evidence for the opposite order too, but weaker evidence.
_BACKWARD = 0.5

# Forward weight below which a pair counts nothing at a half-life (after 7 half-lives for neighbours in the history):
# a pair of weight 0 is not entered into the bounded list, so it evicts no neighbour.
_LEAST = 1 / 128

_HALF_LIVES = np.array(COVISIT_HALF_LIVES)

# Pseudo-weight in the denominator of a share, in pairs: one single pair gives a share of 1/2, not of 1.
_PRIOR = 1.0

# New neighbours per list and batch that are admitted whatever their weight: a single pair weighs 1 at most and would
# never get into a list whose weights have all grown beyond that.
_LET_IN = 2

_COLUMNS = np.arange(len(COVISIT_HALF_LIVES))[:, None]


class Covisitation:
    """Neighbours of all items, by row.

    Pairs are those of `hsnn.trainer.features.covisitation`. A new neighbour takes the place of the smallest weight
    of its list: of the new ones of a batch, heaviest first, the first two always, the others if they are heavier.

    Parameters
    ----------
    rows
        Room at first; 0 if nothing will be counted.

    Attributes
    ----------
    neighbours : (rows, 2, N) int32
        Item rows, -1 where a place is free.
    weights : (rows, 2, N) float32
        Decayed weights of the pairs row -> neighbour, true at `last`.
    totals : (rows, 2) float32
        Decayed weight of all pairs of a row, of those too whose neighbour has left the list; true at `last`.
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
        """Forget the lists of `rows`; `forget` takes them out of other rows' lists, too."""
        self.barrier.before_write(rows)
        self.neighbours[rows], self.weights[rows], self.totals[rows], self.last[rows] = -1, 0, 0, 0

    def remove_items(self, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Forget items, by row: their own lists and their places in others'; return the rows that changed."""
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
        """Overwrite the lists of `rows`, as a mirror does."""
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
    ) -> NDArray[np.int64]:
        """Count B events with what their users engaged with before.

        Parameters
        ----------
        history_items, history_times : (B, L)
            Item rows just before each event, newest last, -1 padded in front; epoch ms.
        items, ts : (B,)
            The events' items, for which there is room, and times.

        Returns
        -------
        (n,) int64
            The rows that changed, ascending: items of the events and of the histories.
        """
        pairs = item_pairs(history_items[:, -RECENT_ITEMS:], history_times[:, -RECENT_ITEMS:], items, ts)
        rows, at = np.unique(pairs.source, return_inverse=True)
        self.barrier.before_write(rows)
        weights = pairs.weights * decayed(self._advance(rows, at, pairs.ts)[at] - pairs.ts)  # (n, 2)
        self.totals[rows] += _sums(at, weights, len(rows))
        keys, same = np.unique(at * len(self.last) + pairs.target, return_inverse=True)
        at, target = np.divmod(keys, len(self.last))
        self._add(rows[at], target, _sums(same, weights, len(keys)))
        return rows

    def scores(
        self, history_items: NDArray[np.integer], now: NDArray[np.int64], candidates: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """How much of what follows each history's last items goes to each candidate, at both half-lives.

        The sum over the last five history items of their pair's share, ``weight / (1 + total)``, both decayed to `now`:
        a probability that evidence must earn, on a scale of ``log(1 + x)``.

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
        places = np.full(int(max(len(self.last), candidates.max(initial=-1) + 1)) + 1, -1)
        places[candidates] = np.arange(len(candidates))  # the row -1 of free places stays -1
        query, rows = _recent(history_items)
        neighbours, shares = self._shares(rows, now[query])
        return _scattered(query, places[neighbours], shares, (len(now), len(candidates)))

    def scores_of_query(
        self, history: NDArray[np.integer], now: int, candidates: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """`scores` of one history (L,) against candidates (n,) in ascending order: the same bits, (n, 2) float32."""
        query, rows = _recent(history[None])
        neighbours, shares = self._shares(rows, np.full(len(rows), now))
        places = np.searchsorted(candidates, neighbours)  # (n, 2, N)
        found = np.append(candidates, -2)[places] == neighbours
        alone: NDArray[np.float32] = _scattered(query, np.where(found, places, -1), shares, (1, len(candidates)))[0]
        return alone

    def _advance(self, rows: NDArray[np.int64], at: NDArray[np.int64], ts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Decay the lists of `rows` to the latest of their pairs, whose times are `ts` at `at`; return these times."""
        latest = self.last[rows]
        np.maximum.at(latest, at, ts)
        decay = decayed(latest - self.last[rows]).astype(np.float32)  # (n, 2)
        self.totals[rows] *= decay
        self.weights[rows] *= decay[..., None]
        self.last[rows] = latest
        return latest

    def _add(self, rows: NDArray[np.int64], targets: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Add `weights` (n, 2) of distinct pairs: to the places they have, else to places they are given."""
        hits = self.neighbours[rows] == targets[:, None, None]  # (n, 2, N)
        known, places = hits.any(2), hits.argmax(2)  # (n, 2)
        pair, half_life = np.nonzero(known)
        self.weights[rows[pair], half_life, places[pair, half_life]] += weights[pair, half_life]
        half_life, pair = np.nonzero((~known & (weights > 0)).T)
        self._let_in(rows[pair], half_life, targets[pair], weights[pair, half_life])

    def _let_in(
        self,
        rows: NDArray[np.int64],
        half_life: NDArray[np.int64],
        targets: NDArray[np.int64],
        weights: NDArray[np.float32],
    ) -> None:
        """Give new neighbours (n,), ordered by half-life and row, the places of the smallest weights of their lists."""
        lists = half_life * len(self.last) + rows
        starts = np.diff(lists, prepend=-1) != 0
        group, first = np.cumsum(starts) - 1, np.flatnonzero(starts)
        order = _heaviest_first(group, weights)
        rank = np.arange(len(order)) - first[group]
        order, rank, group = order[rank < NEIGHBOURS], rank[rank < NEIGHBOURS], group[rank < NEIGHBOURS]
        smallest = np.argsort(self.weights[rows[first], half_life[first]], axis=1, kind="stable")  # (lists, N)
        cell = rows[order], half_life[order], smallest[group, rank]
        entered = (rank < _LET_IN) | (weights[order] > self.weights[cell])
        row, column, place = (part[entered] for part in cell)
        self.neighbours[row, column, place] = targets[order[entered]]
        self.weights[row, column, place] = weights[order[entered]]

    def _shares(
        self, rows: NDArray[np.integer], now: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Neighbours of `rows` (n,) and their shares at `now` (n,): both (n, 2, N)."""
        decay = decayed(np.maximum(now - self.last[rows], 0)).astype(np.float32)  # (n, 2)
        scale = decay / (_PRIOR + self.totals[rows] * decay)
        return gather_rows(self.neighbours, rows), gather_rows(self.weights, rows) * scale[..., None]


def _recent(history_items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which query has which of its newest items: (n,) each."""
    recent = history_items[:, -RECENT_ITEMS:]
    query, column = np.nonzero(recent >= 0)
    return query, recent[query, column].astype(np.int64)


def _scattered(
    query: NDArray[np.int64], places: NDArray[np.int64], shares: NDArray[np.float32], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Sum `shares` (n, 2, N) by query, candidate and half-life; `places` (n, 2, N) are candidates, -1 for none."""
    out = np.zeros((*shape, len(COVISIT_HALF_LIVES)), np.float32)
    flat, found = out.reshape(-1), places >= 0
    cells = (query[:, None, None] * shape[1] + places) * len(COVISIT_HALF_LIVES) + _COLUMNS  # (n, 2, N)
    cells = cells[found]
    np.add.at(flat, cells, shares[found])
    flat[cells] = np.log1p(flat[cells])
    return out


def _heaviest_first(group: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Order within ascending groups by falling weight, equal ones as they came: floats above 0 sort as their bits."""
    return np.argsort((group << 32) - weights.view(np.int32), kind="stable")


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
        When the later of the two was engaged with, epoch ms.
    weights : (n, 2) float64
        At both half-lives, true at `ts`.
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
) -> ItemPairs:
    """Make both directions of every pair of one of the last five items of a history and the item that came next.

    A pair whose parts are `gap` ms and `p` places apart weighs ``2^(-gap/half-life) / p`` from the older to the newer
    one, and half of it backwards; at a half-life at which the former is less than 1/128 it weighs nothing.

    Parameters
    ----------
    history_items, history_times : (B, L)
        Newest last, -1 padded in front; epoch ms.
    items, ts : (B,)

    Examples
    --------
    >>> pairs = item_pairs(np.array([[5, 7]]), np.array([[0, 0]]), np.array([9]), np.array([3_600_000]))
    >>> pairs.source.tolist(), pairs.target.tolist(), pairs.weights[:, 0].tolist()
    ([5, 7, 9, 9], [9, 9, 5, 7], [0.25, 0.5, 0.125, 0.25])
    """
    recent = history_items[:, -RECENT_ITEMS:]
    event, column = np.nonzero((recent >= 0) & (recent != items[:, None]))
    old, new, at = recent[event, column], items[event], ts[event]
    apart = recent.shape[1] - column  # 1 for the newest
    weights = decayed(np.maximum(at - history_times[:, -RECENT_ITEMS:][event, column], 0)) / apart[:, None]  # (n, 2)
    weights[weights < _LEAST] = 0
    return ItemPairs(
        np.r_[old, new].astype(np.int64),
        np.r_[new, old].astype(np.int64),
        np.r_[at, at],
        np.r_[weights, _BACKWARD * weights],
    )


def decayed(elapsed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give what is left of a weight 1 after `elapsed` (n,) ms at both half-lives: (n, 2)."""
    left: NDArray[np.float64] = np.exp2(-elapsed[:, None] / _HALF_LIVES)
    return left
