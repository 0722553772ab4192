"""Full scores of chosen items: the state tower as of the request, compiled, without torch.

The plain counterparts are `hsnn.trainer.features.item_counters.ItemCounters.features` and
`hsnn.trainer.model.scorer.Scorer.score`, for models whose score is a dot product plus sums.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, POPULARITY_PRIOR
from hsnn.trainer.retrieval.leaf_scan import Floats, Rows, ScanQuery, place_of

# Exponents of the decay per ms.
_PER_MS = -1 / np.array(HALF_LIVES)

# Items whose states are encoded together: their features and hidden units fit into the processor's first cache.
_BLOCK = 64


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
def _write_features(states: ScoringColumns, rows: Rows, features: Floats, popularity: Floats) -> None:
    """Write the state features of `rows` (n,) as columns of `features` (F, n), but log `popularity`: (n,)."""
    values, last, first, in_use, now = states.values, states.last, states.first, states.half_life, states.now
    periods, one, third = len(_PER_MS), np.float32(1), np.float32(1 / 3)
    for number in range(len(rows)):
        row = rows[number]
        elapsed, longer = max(now - last[row], 0), np.float32(0)
        for period in range(periods - 1, -1, -1):
            left = values[row, period] * np.exp2(np.float32(elapsed * _PER_MS[period]))
            count = np.log(one + left)  # a quarter of the time of log1p, as exact for a sum of such terms
            features[period, number] = count * third
            if period < periods - 1:
                features[periods + period, number] = count - longer
            if period == in_use:
                popularity[number] = np.log(left + np.float32(POPULARITY_PRIOR))
            longer = count
        age, idle = np.float32(max(now - first[row], 0) / HOUR), np.float32(elapsed / HOUR)
        features[2 * periods - 1, number] = np.log(one + age) * third
        features[2 * periods, number] = np.log(one + idle) * third


@compiled
def _unit_weights(tower: StateTowerWeights, vector: Floats) -> tuple[Floats, float]:
    """Return what each hidden unit adds to the score of a request's state `vector` (p,), (H,), and the constant."""
    second, bias, width = tower.second, tower.second_bias, len(vector)
    weights, constant = np.empty(len(second), np.float32), bias[width]
    for unit in range(len(second)):
        weights[unit] = second[unit, width]
        for column in range(width):
            weights[unit] += second[unit, column] * vector[column]
    for column in range(width):
        constant += bias[column] * vector[column]
    return weights, constant


@compiled
def _state_scores(states: ScoringColumns, rows: Rows, tower: StateTowerWeights, vector: Floats) -> Floats:
    """Return the dot products of a request's state `vector` (p,) and the state vectors of `rows` (n,), with biases.

    Layer by layer for a block of items: all inner loops are over them, so that they use vector instructions.
    """
    out, units, factor = np.empty(len(rows), np.float32), len(tower.second), np.float32(tower.popularity)
    first, first_bias = tower.first, tower.first_bias
    weights, constant = _unit_weights(tower, vector)
    features, hidden = np.zeros((len(first), _BLOCK), np.float32), np.empty(_BLOCK, np.float32)
    popularity = np.empty(_BLOCK, np.float32)
    for start in range(0, len(rows), _BLOCK):
        count = min(_BLOCK, len(rows) - start)
        _write_features(states, rows[start : start + count], features, popularity)
        for number in range(count):
            out[start + number] = constant + factor * popularity[number]
        for unit in range(units):
            for number in range(_BLOCK):
                hidden[number] = first_bias[unit]
            for column in range(len(first)):
                weight = first[column, unit]
                for number in range(_BLOCK):
                    hidden[number] += weight * features[column, number]
            for number in range(count):
                out[start + number] += weights[unit] * max(hidden[number], np.float32(0))
    return out


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
def score_items(query: ScanQuery, rows: Rows, columns: ScoringColumns, tower: StateTowerWeights) -> Floats:
    """Score `rows` (n,) as the item level does: (n,) float32."""
    vectors, leaf, leaf_scores, boosts = columns.vectors, columns.leaf, query.leaf_scores, query.boosts
    vector, pair_rows, pair_scores = query.vector, query.pair_rows, query.pair_scores
    split = len(vector) - tower.second.shape[1] + 1
    out, least = _state_scores(columns, rows, tower, vector[split:]), leaf_scores.min()
    for number in range(len(rows)):
        row = rows[number]
        score = vectors[row, vectors.shape[1] - 1] + (leaf_scores[leaf[row]] if leaf[row] >= 0 else least)
        for column in range(split):
            score += vectors[row, column] * vector[column]
        if row < len(boosts):
            score += boosts[row]
        out[number] += score
        pair = place_of(pair_rows, row)
        if pair >= 0:
            out[number] += pair_scores[pair]
    return out
