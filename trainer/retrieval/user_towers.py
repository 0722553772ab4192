"""User towers and learned levels for one request at a time: matrix times vector, compiled, without torch.

The plain counterpart is `hsnn.trainer.model.scorer.Scorer.encode`, from whose model the weights come.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.features.item_counters import HOUR
from hsnn.trainer.retrieval.leaf_scan import Floats, Rows, keep_best


class Mlp(NamedTuple):
    """Three linear layers with ReLU between them; weights are (out, in)."""

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    third: Floats
    third_bias: Floats


class LevelWeights(NamedTuple):
    """The learned levels, joined: level l has nodes ``starts[l] : starts[l + 1]``.

    Attributes
    ----------
    starts : (levels + 1,) int64
    heads : (levels,) int64
        User vectors of each level.
    nodes : (nodes of all levels, d) float32
    bias : (nodes of all levels,) float32
    share : (levels,) float32
        Factor of a node's log share of its family's traffic.
    ensemble : (levels - 1,) float32
        Factor of the parent's log probability.
    """

    starts: Rows
    heads: Rows
    nodes: Floats
    bias: Floats
    share: Floats
    ensemble: Floats


class UserInputs(NamedTuple):
    """One request.

    Attributes
    ----------
    history, times : (L,)
        Item rows, newest last, -1 padded, and epoch ms.
    tokens : (C + X,)
        Rows of the feature table.
    split : int
        How many of them are the user's; the others are the context's.
    now : int
        Epoch ms.
    """

    history: NDArray[np.int32]
    times: Rows
    tokens: Rows
    split: int
    now: int


class LevelInputs(NamedTuple):
    """One level of one request.

    Attributes
    ----------
    level : int
    users : (heads * d,) float32
    log_share : (nodes of all levels,) float32
    siblings : int
        Nodes of a family.
    """

    level: int
    users: Floats
    log_share: Floats
    siblings: int


class TowerWeights(NamedTuple):
    """Weights of the request side of a model with plain towers.

    Attributes
    ----------
    position : (L,) float32
    gap : float
        Factor of the log gap in a history item's weight.
    features : (n, t) float32
        Feature rows; the last is of zeros.
    item, node : Mlp
    item_skip, node_skip : (out, 2d) float32
    levels : LevelWeights
    dim : int
    """

    position: Floats
    gap: float
    features: Floats
    item: Mlp
    node: Mlp
    item_skip: Floats
    node_skip: Floats
    levels: LevelWeights
    dim: int


@compiled
def _linear(weight: Floats, bias: Floats, values: Floats, relu: bool) -> Floats:
    out = np.empty(len(weight), np.float32)
    for row in range(len(weight)):
        total = np.float32(0)
        for column in range(len(values)):
            total += weight[row, column] * values[column]
        total += bias[row]
        out[row] = max(total, np.float32(0)) if relu else total
    return out


@compiled
def _tower(mlp: Mlp, skip: Floats, features: Floats) -> Floats:
    hidden = _linear(mlp.first, mlp.first_bias, features, True)
    hidden = _linear(mlp.second, mlp.second_bias, hidden, True)
    out = _linear(mlp.third, mlp.third_bias, hidden, False)
    for row in range(len(skip)):
        total = np.float32(0)
        for column in range(skip.shape[1]):
            total += skip[row, column] * features[column]
        out[row] += total
    return out


@compiled
def _features(weights: TowerWeights, user: UserInputs, vectors: Floats) -> Floats:
    """Build the features of the towers: history mean, last item, user, context, and seven dense numbers."""
    history, times, tokens, split, now = user
    dim, length, width = weights.dim, len(history), weights.features.shape[1]
    out = np.zeros(2 * dim + 2 * width + 7, np.float32)
    weight = np.empty(length, np.float32)
    held, last_gap = 0, np.float32(0)
    for at in range(length):
        gap = np.float32(0)
        if history[at] >= 0:
            held += 1
            gap = np.float32(np.log1p(max(now - times[at], 0) / HOUR * 60))
        weight[at] = weights.position[at] + np.float32(weights.gap) * gap
        last_gap = gap
    largest, total = weight[0], np.float32(0)
    for at in range(1, length):
        largest = max(largest, weight[at])
    for at in range(length):
        weight[at] = np.exp(weight[at] - largest) if history[at] >= 0 else np.float32(0)
        total += weight[at]
    total = max(total, np.float32(1e-6))
    for at in range(length):
        if history[at] >= 0:
            share = weight[at] / total
            for column in range(dim):
                out[column] += share * vectors[history[at], column]
    if history[length - 1] >= 0:
        for column in range(dim):
            out[dim + column] = vectors[history[length - 1], column]
    for at in range(len(tokens)):
        if tokens[at] < len(weights.features) - 1:
            first = 2 * dim + (0 if at < split else width)
            for column in range(width):
                out[first + column] += weights.features[tokens[at], column]
    day, week = 2 * np.pi * (now / (24 * HOUR)), 2 * np.pi * (now / (168 * HOUR))
    first = 2 * dim + 2 * width
    out[first], out[first + 1] = history[length - 1] >= 0, held / length
    out[first + 2] = last_gap / 5
    out[first + 3], out[first + 4] = np.sin(day), np.cos(day)
    out[first + 5], out[first + 6] = np.sin(week), np.cos(week)
    return out


@compiled
def _log_sum_exp(values: Floats) -> np.float32:
    largest, total = values[0], np.float32(0)
    for number in range(1, len(values)):
        largest = max(largest, values[number])
    for number in range(len(values)):
        total += np.exp(values[number] - largest)
    return np.float32(largest + np.log(total))


@compiled
def _family(levels: LevelWeights, inputs: LevelInputs, family: int | np.int64, coarse: np.float32) -> Floats:
    """Score the nodes of a family: log probability among them, plus that of the parent by its factor."""
    level, users, log_share, count = inputs
    dim, heads = levels.nodes.shape[1], levels.heads[level]
    first = levels.starts[level] + family * count
    out, products = np.empty(count, np.float32), np.empty(heads, np.float32)
    for number in range(count):
        node = first + number
        for head in range(heads):
            product = np.float32(0)
            for column in range(dim):
                product += levels.nodes[node, column] * users[head * dim + column]
            products[head] = product
        joined = _log_sum_exp(products) if heads > 1 else products[0]
        out[number] = joined + (levels.bias[node] + levels.share[level] * log_share[node])
    total = _log_sum_exp(out)
    above = levels.ensemble[level - 1] * coarse if level else np.float32(0)
    for number in range(count):
        out[number] += above - total
    return out


@compiled
def _best(log_p: Floats, width: int) -> Rows:
    """Return the `width` nodes with the largest log probability, in no order."""
    nodes = np.arange(len(log_p))
    if width < len(log_p):
        keep_best(log_p.copy(), nodes, len(log_p), width)
    return nodes[:width]


@compiled
def encode_user(
    weights: TowerWeights, user: UserInputs, vectors: Floats, log_share: Floats, beam: int
) -> tuple[Floats, Floats, int]:
    """Run the user towers and the levels for one request.

    Parameters
    ----------
    weights, user
    vectors : (rows, W)
        Static item vectors.
    log_share : (nodes of all levels,)
        Log share of each node in its family's traffic.
    beam
        Nodes of a level whose children are scored; of the others' leaves the log probability is -inf.

    Returns
    -------
    vector : (d_u + p,) float32
        User vector for static and for state vectors.
    log_probs : (K,) float32
        Log probabilities of the leaves.
    scored : int
        Nodes scored.
    """
    features, levels = _features(weights, user, vectors), weights.levels
    vector = _tower(weights.item, weights.item_skip, features)
    users = _tower(weights.node, weights.node_skip, features)
    count, offset = levels.starts[1] - levels.starts[0], levels.heads[0] * weights.dim
    log_p = _family(levels, LevelInputs(0, users[:offset], log_share, count), 0, np.float32(0))
    scored = count
    for level in range(1, len(levels.heads)):
        nodes = levels.starts[level + 1] - levels.starts[level]
        count, end = nodes // len(log_p), offset + levels.heads[level] * weights.dim
        inputs = LevelInputs(level, users[offset:end], log_share, count)
        offset = end
        reached = np.full(nodes, -np.inf, np.float32)
        parents = _best(log_p, beam)
        for parent in parents:
            if log_p[parent] > -np.inf:
                scored += count
                family = _family(levels, inputs, parent, log_p[parent])
                for number in range(count):
                    reached[parent * count + number] = family[number]
        log_p = reached
    return vector, log_p, scored


def joined_log_shares(leaf_log_share: Floats, counts: tuple[int, ...]) -> Floats:
    """Return the log share of every node in its family's traffic, level by level, from the leaves' log shares (K,).

    `counts` are the nodes of the levels, coarsest first. The counterpart is
    `hsnn.trainer.index.levels.level_log_shares`.

    Examples
    --------
    >>> shares = joined_log_shares(np.log(np.array([0.1, 0.3, 0.6, 1e-6], np.float32)), (2, 4))
    >>> np.exp(shares).round(2).tolist()
    [0.4000000059604645, 0.6000000238418579, 0.25, 0.75, 1.0, 0.0]
    """
    joint = [leaf_log_share]
    for count in reversed(counts[:-1]):
        joint.insert(0, np.logaddexp.reduce(leaf_log_share.reshape(count, -1), axis=1))
    parts = [joint[0]]
    for coarse, fine in pairwise(joint):
        parts.append(fine - np.repeat(coarse, len(fine) // len(coarse)))
    return np.concatenate(parts, dtype=np.float32)
