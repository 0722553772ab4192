"""Full scores of chosen items: the state tower as of the request, compiled, without torch.

The plain counterparts are `hsnn.trainer.features.item_counters.ItemCounters.features` and
`hsnn.trainer.model.scorer.Scorer.score`, for models whose score is a dot product plus sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, POPULARITY_PRIOR
from hsnn.trainer.retrieval.compiled import compiled
from hsnn.trainer.retrieval.leaf_scan import Floats, Rows, ScanQuery

# Exponents of the decay per ms.
_PER_MS = -1 / np.array(HALF_LIVES)


class StateTowerWeights(NamedTuple):
    """Weights (in, out) of the state tower, two linear layers, and the factor of log popularity in the bias."""

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    popularity: float


class ScoringColumns(NamedTuple):
    """Columns by row that scores are made of, and the time that they are read at.

    Attributes
    ----------
    vectors : (rows, W) float32
        Static, the last column a bias.
    leaf : (rows,) int32
        -1 for none.
    values, last, first, half_life
        As in `hsnn.trainer.features.item_counters.ItemCounters`.
    now : int
        Epoch ms.
    """

    vectors: Floats
    leaf: NDArray[np.int32]
    values: Floats
    last: Rows
    first: Rows
    half_life: int
    now: int


@compiled
def _state_features(states: ScoringColumns, row: int | np.int64, features: Floats) -> Any:
    """Write the state features of a row but log popularity, and return that."""
    periods, now = len(_PER_MS), states.now
    elapsed = max(now - states.last[row], 0)
    in_use = np.float32(0)
    for period in range(periods):
        decay = np.exp2(np.float32(elapsed * _PER_MS[period]))
        count = np.log1p(states.values[row, period] * decay)
        features[period] = count / np.float32(3)
        if period:
            features[periods + period - 1] -= count
        if period < periods - 1:
            features[periods + period] = count
        if period == states.half_life:
            in_use = count
    features[2 * periods - 1] = np.log1p(np.float32(max(now - states.first[row], 0) / HOUR)) / np.float32(3)
    features[2 * periods] = np.log1p(np.float32(elapsed / HOUR)) / np.float32(3)
    return np.log(np.expm1(in_use) + np.float32(POPULARITY_PRIOR))


@compiled
def _linear_columns(weight: Floats, bias: Floats, values: Floats, out: Floats) -> None:
    """Write ``values @ weight + bias``, an input at a time: vector instructions then need no sums across."""
    for unit in range(len(out)):
        out[unit] = bias[unit]
    for column in range(len(values)):
        value = values[column]
        for unit in range(len(out)):
            out[unit] += weight[column, unit] * value


@compiled
def encode_states(features: Floats, tower: StateTowerWeights) -> Floats:
    """Encode state features (n, F) as state vectors (n, p + 1), the last column a bias.

    A vector has the same bits whatever others are computed with it, which a matrix product does not promise.
    """
    out = np.empty((len(features), tower.second.shape[1]), np.float32)
    hidden, last = np.empty(len(tower.second), np.float32), features.shape[1] - 1
    for number in range(len(features)):
        _linear_columns(tower.first, tower.first_bias, features[number, :last], hidden)
        for unit in range(len(hidden)):
            hidden[unit] = max(hidden[unit], np.float32(0))
        _linear_columns(tower.second, tower.second_bias, hidden, out[number])
        out[number, out.shape[1] - 1] += np.float32(tower.popularity) * features[number, last]
    return out


@compiled
def score_items(query: ScanQuery, rows: Rows, states: ScoringColumns, tower: StateTowerWeights) -> Floats:
    """Score ascending `rows` (n,) as the item level does: (n,) float32."""
    vectors, leaf = states.vectors, states.leaf
    out = np.empty(len(rows), np.float32)
    of_state = tower.second.shape[1] - 1
    split = len(query.vector) - of_state
    features, hidden = np.empty(len(tower.first), np.float32), np.empty(len(tower.second), np.float32)
    state = np.empty(of_state + 1, np.float32)
    least, pair = query.leaf_scores[0], 0
    for score in query.leaf_scores:
        least = min(least, score)
    for number in range(len(rows)):
        row = rows[number]
        popularity = _state_features(states, row, features)
        _linear_columns(tower.first, tower.first_bias, features, hidden)
        for unit in range(len(hidden)):
            hidden[unit] = max(hidden[unit], np.float32(0))
        _linear_columns(tower.second, tower.second_bias, hidden, state)
        score = vectors[row, vectors.shape[1] - 1] + state[of_state]
        for column in range(split):
            score += vectors[row, column] * query.vector[column]
        for column in range(of_state):
            score += state[column] * query.vector[split + column]
        score += np.float32(tower.popularity) * popularity
        score += query.leaf_scores[leaf[row]] if leaf[row] >= 0 else least
        while pair < len(query.pair_rows) and query.pair_rows[pair] < row:
            pair += 1
        if pair < len(query.pair_rows) and query.pair_rows[pair] == row:
            score += query.pair_scores[pair]
        if row < len(query.boosts):
            score += query.boosts[row]
        out[number] = score
    return out
