"""Pair facts of one request, and what they add to scores: compiled, without torch.

The plain counterparts are `hsnn.trainer.features.pair_facts.pair_facts`, `MonnArrays.pair_logits` and
`hsnn.trainer.retrieval.pair_scores.PairScores.from_parts`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, POPULARITY_PRIOR, ItemCounters
from hsnn.trainer.features.pair_facts import AGES, JUST_NOW, OWN_FEATURES, POSITION_POWER, RECENT_ITEMS
from hsnn.trainer.features.user_memory import ACTION_SLOTS, SECOND
from hsnn.trainer.messages import COVISIT_HALF_LIVES, NEIGHBOURS
from hsnn.trainer.retrieval.leaf_scan import Floats, Rows, place_of

_HALF_LIVES = np.array(COVISIT_HALF_LIVES)

# Neighbours of a request, at most.
_MOST_NEIGHBOURS = RECENT_ITEMS * len(COVISIT_HALF_LIVES) * NEIGHBOURS

# A multiplier that spreads rows over the places of a hash table: the golden ratio in 32 bits (Knuth, vol. 3, 6.4).
_SPREAD = 2_654_435_769

# What each log of a user's past items is divided by, as in the plain counterpart.
_LOG_SCALE = 5


class PairWeights(NamedTuple):
    """Weights of pair facts, as they enter a logit.

    Attributes
    ----------
    lift : (2,) float32
        Of both half-lives, within the logarithm.
    scale : float
        Of that logarithm.
    own : (OWN_FEATURES,) float32
    """

    lift: Floats
    scale: float
    own: Floats


class PairColumns(NamedTuple):
    """Columns by item row that pair facts are made of, with counts and times of popularity at the half-life in use.

    Attributes
    ----------
    neighbours, weights, paired
        `neighbours`, `weights` and `last` of `hsnn.trainer.features.covisitation.Covisitation`.
    counts : (rows,) float32
    last : (rows,) int64
    per_ms : float
        Exponent of their decay.
    total : float
        Engagements of all items as of `total_at`, epoch ms.
    total_at : int
    """

    neighbours: NDArray[np.int32]
    weights: Floats
    paired: Rows
    counts: Floats
    last: Rows
    per_ms: float
    total: float
    total_at: int

    @classmethod
    def of(cls, pairs: Covisitation, states: ItemCounters) -> PairColumns:
        """Take the columns, without a copy."""
        return cls(
            neighbours=pairs.neighbours,
            weights=pairs.weights,
            paired=pairs.last,
            counts=states.values[:, states.half_life],
            last=states.last,
            per_ms=-1 / HALF_LIVES[states.half_life],
            total=float(states.total),
            total_at=states.total_at,
        )


class _PairTable(NamedTuple):
    """Hash table by item row: places (m,) a power of two, at most half of them in use."""

    rows: Rows
    lift: NDArray[np.float64]
    own: Floats


@compiled
def _place(table: Rows, row: int | np.int64) -> Any:
    """Return the place of a row in a hash table (m,), or the free one where it belongs."""
    last = len(table) - 1
    place = (row * _SPREAD >> 12) & last
    while table[place] >= 0 and table[place] != row:
        place = (place + 1) & last
    return place


@compiled
def _add_neighbours(table: _PairTable, columns: PairColumns, history: NDArray[np.int32], now: int) -> None:
    """Add the co-visitation of the last items of a history (L,)."""
    rows, lift = table.rows, table.lift
    neighbours, weights, paired = columns.neighbours, columns.weights, columns.paired
    recent = history[max(len(history) - RECENT_ITEMS, 0) :]
    for column in range(len(recent)):
        item = recent[column]
        if item < 0:
            continue
        factor = np.float32(len(recent) - column) ** np.float32(POSITION_POWER)
        for period in range(len(_HALF_LIVES)):
            decay = np.float32(np.exp2(-max(now - paired[item], 0) / _HALF_LIVES[period]))
            for slot in range(neighbours.shape[2]):
                row, weight = np.int64(neighbours[item, period, slot]), weights[item, period, slot] * decay
                if row >= 0 and weight > 0:
                    place = _place(rows, row)
                    rows[place] = row
                    lift[place, period] += weight * factor


@compiled
def _add_own(table: _PairTable, weights: Floats, memory: NDArray[Any], now: int, since: int) -> None:
    """Add the facts of remembered items (n,), oldest first; what is older than `since`, epoch ms, is forgotten."""
    rows, own = table.rows, table.own
    held = engagements = 0
    for entry in memory:
        if entry["item"] >= 0 and entry["time"] * np.int64(SECOND) >= since:
            held += 1
            engagements += entry["count"]
    knots, ages = len(AGES), AGES
    repeats = 1 - held / max(engagements, 1)
    for at in range(len(memory)):
        row, time = np.int64(memory[at]["item"]), memory[at]["time"] * np.int64(SECOND)
        if row < 0 or time < since:
            continue
        age = np.log(max(now - time, 0) / HOUR + JUST_NOW)
        upper = 1
        while upper < knots - 1 and age > ages[upper]:
            upper += 1
        share = min(max((age - ages[upper - 1]) / (ages[upper] - ages[upper - 1]), 0.0), 1.0)  # of the upper knot
        logit = weights[upper - 1] * np.float32(1 - share) + weights[upper] * np.float32(share)
        logit += weights[knots] * np.float32(np.log(max(np.float64(memory[at]["count"]), 1.0)))
        logit += weights[knots + 1] * np.float32(1 / (len(memory) - at))
        logit += weights[knots + 2] * np.float32(repeats)
        logit += weights[knots + 3] * np.float32(np.log(max(held, 1)) / _LOG_SCALE)
        for slot in range(ACTION_SLOTS):
            if (memory[at]["flags"] >> slot) & 1:
                logit += weights[knots + 4 + slot]
        place = _place(rows, row)
        rows[place] = row
        own[place] += logit


@compiled
def _sorted(table: Rows) -> tuple[Rows, Rows]:
    """Return the rows of a hash table (m,), ascending, and their places: (n,) each."""
    places = np.flatnonzero(table >= 0)
    rows, gap = table[places], 1
    while 3 * gap < len(rows):
        gap = 3 * gap + 1
    while gap > 0:  # Shell's sort: NumPy's sorts take half of the time that compiling all kernels takes
        for number in range(gap, len(rows)):
            row, place, at = rows[number], places[number], number
            while at >= gap and rows[at - gap] > row:
                rows[at], places[at] = rows[at - gap], places[at - gap]
                at -= gap
            rows[at], places[at] = row, place
        gap //= 3
    return rows, places


@compiled
def request_pairs(
    weights: PairWeights,
    columns: PairColumns,
    *,
    history: NDArray[np.int32],
    memory: NDArray[Any],
    now: int,
    since: int,
) -> tuple[Rows, Floats, NDArray[np.bool_]]:
    """Look up the pair facts of one request, and compute their logits.

    Parameters
    ----------
    weights, columns
    history : (L,)
        Item rows, newest last, -1 where there is none.
    memory : (n,)
        Entries of `hsnn.trainer.features.user_memory.UserMemory.entries_of`, oldest first.
    now : int
        Epoch ms.
    since : int
        What is remembered from before this time is forgotten, epoch ms.

    Returns
    -------
    rows : (n,) int64
        Ascending.
    scores : (n,) float32
    near : (n,) bool
        Whether the item is a neighbour of the last items; the others are past items.
    """
    places = 64
    while places < 2 * (_MOST_NEIGHBOURS + len(memory)):
        places *= 2
    table = _PairTable(
        np.full(places, -1, np.int64), np.zeros((places, len(_HALF_LIVES))), np.zeros(places, np.float32)
    )
    _add_neighbours(table, columns, history, now)
    _add_own(table, weights.own, memory, now=now, since=since)
    rows, found = _sorted(table.rows)
    scores, near = np.empty(len(rows), np.float32), np.empty(len(rows), np.bool_)
    lift, own, counts, last, factors = table.lift, table.own, columns.counts, columns.last, weights.lift
    total = columns.total * np.exp2(max(now - columns.total_at, 0) * columns.per_ms) + 1
    for number in range(len(rows)):
        row, place, evidence = rows[number], found[number], np.float32(0)
        for period in range(len(factors)):
            evidence += np.float32(lift[place, period]) * factors[period]
        near[number] = lift[place].sum() > 0
        scores[number] = own[place]
        if near[number]:
            left = counts[row] * np.exp2(max(now - last[row], 0) * columns.per_ms)
            popularity = (left + POPULARITY_PRIOR) / total
            scores[number] += np.float32(weights.scale) * np.float32(np.log1p(evidence / popularity))
    return rows, scores, near


@compiled
def count_pairs(rows: Rows, pair_rows: Rows, near: NDArray[np.bool_]) -> tuple[int, int]:
    """Count those of `rows` (n,) that are neighbours, and those that are past items, of ascending `pair_rows` (m,)."""
    neighbours = past = 0
    for row in rows:
        place = place_of(pair_rows, row)
        if place >= 0:
            neighbours += near[place]
            past += not near[place]
    return neighbours, past


assert len(AGES) + 4 + ACTION_SLOTS == OWN_FEATURES, "the kernel has a line for each of them"
