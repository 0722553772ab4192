"""Pair facts: what is known of a user and an item together, found by look-up, as sparse rows.

This is the user-item interaction of HSNN (arXiv 2408.06653 §3, "I2IF") without work in users times items: the facts are
looked up from the user's side, so that only pairs that have some cost anything. There are two kinds:

- **neighbours**: items that users engaged with around the user's last items (`hsnn.trainer.features.covisitation`), as
  the lift over popularity that co-visitation alone would give them;
- **own**: the user's past items (`hsnn.trainer.features.user_memory`): when, how often, how long ago, by which actions.

Training and serving compute them with this code. `hsnn.trainer.modules.pair_logits` makes logits of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import COMPILED, compiled_in_order
from hsnn.trainer.features.covisitation import Covisitation, decayed
from hsnn.trainer.features.item_counters import HOUR, ItemCounters
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import ACTION_SLOTS, MemoryEntries
from hsnn.trainer.messages import COVISIT_HALF_LIVES, NEIGHBOURS
from hsnn.trainer.rowstore.arrays import cut_of_queries

RECENT_ITEMS = 10
"""Last items whose neighbours are looked up: five lose on shops, where one basket holds many."""

POSITION_POWER = -0.7
"""Weight of the neighbours of the last item but n: (1 + n) to this power. 1 is best on shops, 0 on films."""

AGES = np.log([1 / 6, 2.0, 24.0, 168.0, 720.0, 2880.0])
"""Knots of the age of a past item, log hours: ten minutes, a visit, a day, a week, a month, a season."""

JUST_NOW = 0.05
"""Hours added to an age, three minutes, so that its log is finite."""

OWN_FEATURES = len(AGES) + 4 + ACTION_SLOTS
"""Columns of `PairFacts.own`: age (hat functions on its knots), log count, 1 / places back, the user's share of
repeats, log number of past items, and the slots of actions."""

_HALF_LIVES = len(COVISIT_HALF_LIVES)

# Popularity that smooths co-visitation before anything is learned, in pairs: 10 to 30 are best on all streams tried.
SMOOTHING = 15.0

# Factors of the weights of `hsnn.trainer.modules.pair_logits`. Adam moves a weight by its rate, 0.002, per step; these
# few have to follow a stream within some hundred steps, and are no larger than others times their factor.
LIFT_RATE, OWN_RATE = 20.0, 5.0


class PairFacts(NamedTuple):
    """Facts of pairs of a query and a candidate, each kind ordered by query.

    Attributes
    ----------
    query, candidate : (n,) int64
        Pairs with co-visitation; a candidate is its index among the candidates, or its row where none were given.
    lift : (n, 2) float32
        Co-visitation of the last items with the candidate over its popularity, in pairs, at both half-lives.
    own_query, own_candidate : (m,) int64
        Pairs of a query and a past item of its user.
    own : (m, OWN_FEATURES) float32
    """

    query: NDArray[np.int64]
    candidate: NDArray[np.int64]
    lift: NDArray[np.float32]
    own_query: NDArray[np.int64]
    own_candidate: NDArray[np.int64]
    own: NDArray[np.float32]

    def select(self, queries: slice) -> PairFacts:
        """Return the facts of a range of queries, numbered from its start."""
        near, past = cut_of_queries(self.query, queries), cut_of_queries(self.own_query, queries)
        return PairFacts(
            query=self.query[near] - queries.start,
            candidate=self.candidate[near],
            lift=self.lift[near],
            own_query=self.own_query[past] - queries.start,
            own_candidate=self.own_candidate[past],
            own=self.own[past],
        )


class CandidateLookup:
    """Index of each item row among some candidates; all items, by row, where none are given.

    Examples
    --------
    >>> CandidateLookup(np.array([4, 7]))(np.array([7, 5, -1])).tolist()
    [1, -1, -1]
    """

    def __init__(self, candidates: NDArray[np.integer] | None) -> None:
        self.indices: NDArray[np.int32] | None = None
        if candidates is not None:
            # One entry more than rows: the row -1 of nothing reads the last one.
            self.indices = np.full(int(candidates.max(initial=-1)) + 2, -1, np.int32)
            self.indices[candidates] = np.arange(len(candidates), dtype=np.int32)

    def __call__(self, rows: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the candidates' indices of `rows`, of any shape; -1 where a row is none of them."""
        if self.indices is None:
            return rows
        indices: NDArray[np.int32] = self.indices[np.minimum(rows, len(self.indices) - 1)]
        return indices


def pair_facts(
    queries: QueryArrays,
    memory: MemoryEntries,
    pairs: Covisitation,
    states: ItemCounters,
    candidates: NDArray[np.integer] | None = None,
) -> PairFacts:
    """Look up the facts of B queries.

    Parameters
    ----------
    queries
        `history_items` and `now` are used.
    memory
        Past items of the B users.
    pairs, states
        Co-visitation and popularity as counted so far.
    candidates : (U,), ascending, or None
        Items that facts are wanted of; None for all.
    """
    lookup = CandidateLookup(candidates)
    width = len(pairs.last) if candidates is None else len(candidates)
    query, candidate, lift = _neighbours(queries, pairs, lookup, max(width, 1))
    rows = candidate if candidates is None else candidates[candidate]
    lift /= states.popularity(rows, queries.now, query)[:, None]
    return PairFacts(query, candidate, lift.astype(np.float32), *_own(memory, queries.now, lookup))


def _neighbours(
    queries: QueryArrays, pairs: Covisitation, lookup: CandidateLookup, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sum the co-visitation of the last items by query and candidate: both (n,), and (n, 2) sums above 0."""
    recent = queries.history_items[:, -RECENT_ITEMS:]
    query, column = np.nonzero(recent >= 0)
    rows = recent[query, column].astype(np.int64)
    weight = (recent.shape[1] - column).astype(np.float32) ** POSITION_POWER
    if COMPILED and lookup.indices is not None:
        decay = decayed(np.maximum(queries.now[query] - pairs.last[rows], 0)).astype(np.float32)
        lists, indices = pairs.neighbours, lookup.indices
        return _sum_lists(query, rows, decay, weight, lists=lists, weights=pairs.weights, indices=indices, width=width)
    neighbours, counts = pairs.counts(rows, queries.now[query])  # (k, 2, N)
    found = lookup(neighbours)
    present = np.flatnonzero((found >= 0) & (counts > 0))  # flat indices: three of an array cost three times as much
    item, half_life = present // (_HALF_LIVES * NEIGHBOURS), present // NEIGHBOURS % _HALF_LIVES
    values = counts.ravel()[present] * weight[item]
    keys = (query[item] * width + found.ravel()[present]) * _HALF_LIVES + half_life
    cells, sums = _sum_by_key(keys, values, len(queries.now) * width * _HALF_LIVES)
    key, half_life = np.divmod(cells, _HALF_LIVES)
    first = np.diff(key, prepend=-1) != 0  # the half-lives of a pair follow one another
    lift = np.zeros((int(first.sum()), _HALF_LIVES))
    lift[np.cumsum(first) - 1, half_life] = sums
    pair_query, candidate = np.divmod(key[first], width)
    return pair_query, candidate, lift


@compiled_in_order
def _sum_lists(
    query: NDArray[np.int64],
    rows: NDArray[np.int64],
    decay: NDArray[np.float32],
    weight: NDArray[np.float32],
    lists: NDArray[np.int32],
    weights: NDArray[np.float32],
    indices: NDArray[np.int32],
    width: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sum, as `_neighbours` returns it, the lists of `rows` (k,), with decay (k, 2) and weight (k,), of a query each.

    `lists` and `weights` are those of `Covisitation`, `indices` those of a lookup among `width` candidates. The sums
    are to the bit those of NumPy, for a quarter of the time: what is no candidate is never copied.
    """
    size = min(len(rows) * _HALF_LIVES * NEIGHBOURS, (query[-1] + 1) * width if len(query) else 0)
    pair_query, candidate = np.empty(size, np.int64), np.empty(size, np.int64)
    lift = np.empty((size, _HALF_LIVES), np.float64)
    sums, summed = np.zeros((width, _HALF_LIVES), np.float64), np.zeros(width, np.bool_)
    made, start = 0, 0
    while start < len(rows):
        end = start
        while end < len(rows) and query[end] == query[start]:
            for half_life in range(_HALF_LIVES):
                near, counted, left = lists[rows[end], half_life], weights[rows[end], half_life], decay[end, half_life]
                for place in range(NEIGHBOURS):
                    item = near[place]
                    if item < 0 or item >= len(indices) or indices[item] < 0:
                        continue
                    value = counted[place] * left * weight[end]
                    if value > 0:
                        sums[indices[item], half_life] += value
                        summed[indices[item]] = True
            end += 1
        for index in range(width):
            if summed[index]:
                pair_query[made], candidate[made] = query[start], index
                for half_life in range(_HALF_LIVES):
                    lift[made, half_life] = sums[index, half_life]
                    sums[index, half_life] = 0
                summed[index] = False
                made += 1
        start = end
    return pair_query[:made].copy(), candidate[:made].copy(), lift[:made].copy()


def _sum_by_key(
    keys: NDArray[np.int64], values: NDArray[np.float32], size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sum values (n,) >= 0 by key < size: the distinct keys of sums above 0, ascending, and their sums."""
    if size > 16 * len(keys):  # a sort is cheaper than a table of all keys
        distinct, inverse = np.unique(keys, return_inverse=True)
        sums = np.bincount(inverse, values, len(distinct)).astype(np.float64)
        return distinct[sums > 0], sums[sums > 0]
    sums = np.bincount(keys, values, size).astype(np.float64, copy=False)
    distinct = np.flatnonzero(sums > 0)  # of booleans it is several times as fast
    return distinct, sums[distinct]


def _own(
    memory: MemoryEntries, now: NDArray[np.int64], lookup: CandidateLookup
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Describe the past items that are candidates: query and candidate (m,), features (m, OWN_FEATURES)."""
    found = lookup(memory.items)
    query, column = np.nonzero(found >= 0)
    counts, flags = memory.counts[query, column], memory.flags[query, column]
    held = (memory.items >= 0).sum(1)[query]
    repeats = 1 - held / np.maximum(memory.counts.sum(1), 1)[query]
    age = np.log(np.maximum(now[query] - memory.times[query, column], 0) / HOUR + JUST_NOW)
    knot = np.interp(age, AGES, np.arange(len(AGES)))
    hats = np.maximum(0, 1 - np.abs(knot[:, None] - np.arange(len(AGES))))  # linear between two knots
    places_back = memory.items.shape[1] - column
    numbers = np.stack([np.log(np.maximum(counts, 1)), 1 / places_back, repeats, np.log(np.maximum(held, 1)) / 5], 1)
    slots = (flags[:, None] >> np.arange(ACTION_SLOTS)) & 1
    own = np.concatenate([hats, numbers, slots], 1, dtype=np.float32)
    return query, found[query, column].astype(np.int64), own
