"""Full scores of chosen items: the state tower as of the request, compiled, without torch.

The plain counterparts are `hsnn.trainer.features.item_counters.ItemCounters.features` and
`hsnn.trainer.model.scorer.Scorer.score`, for models whose score is a dot product plus sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, POPULARITY_PRIOR
from hsnn.trainer.retrieval.compiled import compiled
from hsnn.trainer.retrieval.leaf_scan import Floats, Rows, ScanQuery

_HALF_LIVES = np.array(HALF_LIVES)


class StateTowerWeights(NamedTuple):
    """Weights of the state tower, two linear layers; `popularity` is the factor of log popularity in the bias."""

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
def score_items(query: ScanQuery, rows: Rows, states: ScoringColumns, tower: StateTowerWeights) -> Floats:
    """Score ascending `rows` (n,) as the item level does: (n,) float32."""
    vectors, leaf, now = states.vectors, states.leaf, states.now
    out = np.empty(len(rows), np.float32)
    periods, of_state = len(_HALF_LIVES), tower.second.shape[0] - 1
    split = len(query.vector) - of_state
    features, counts = np.empty(2 * periods + 1, np.float32), np.empty(periods, np.float32)
    hidden = np.empty(len(tower.first), np.float32)
    least, pair = query.leaf_scores[0], 0
    for score in query.leaf_scores:
        least = min(least, score)
    for number in range(len(rows)):
        row = rows[number]
        elapsed = max(now - states.last[row], 0)
        for period in range(periods):
            decay = np.float32(np.exp2(-elapsed / _HALF_LIVES[period]))
            counts[period] = np.log1p(states.values[row, period] * decay)
            features[period] = counts[period] / np.float32(3)
        for period in range(periods - 1):
            features[periods + period] = counts[period] - counts[period + 1]
        features[2 * periods - 1] = np.log1p(max(now - states.first[row], 0) / HOUR) / 3
        features[2 * periods] = np.log1p(elapsed / HOUR) / 3
        popularity = np.log(np.expm1(counts[states.half_life]) + np.float32(POPULARITY_PRIOR))
        for unit in range(len(hidden)):
            total = np.float32(0)
            for column in range(len(features)):
                total += tower.first[unit, column] * features[column]
            hidden[unit] = max(total + tower.first_bias[unit], np.float32(0))
        score = np.float32(0)
        for column in range(split):
            score += vectors[row, column] * query.vector[column]
        for column in range(of_state):
            total = np.float32(0)
            for unit in range(len(hidden)):
                total += tower.second[column, unit] * hidden[unit]
            score += (total + tower.second_bias[column]) * query.vector[split + column]
        total = np.float32(0)
        for unit in range(len(hidden)):
            total += tower.second[of_state, unit] * hidden[unit]
        score += vectors[row, vectors.shape[1] - 1] + (total + tower.second_bias[of_state])
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
