"""User-item cross features: matches of an item's attributes with its user's, and co-visitation.

HSNN (arXiv 2408.06653) §3, interaction tower, "I2IF": item attributes are posted under their token, the user's
attributes are the query, and one look-up tells which candidates have them, ``is_topic_match(user, item)``. A user's
attributes are the hashed user features and the content tokens of the last items, weighted by recency. Training and
serving compute the same columns: `cross_features` for many queries at once, `cross_features_of_query` for one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.hashing import FIELD_SLOTS
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.messages import COVISIT_HALF_LIVES

CROSS_FEATURES = FIELD_SLOTS + 1 + len(COVISIT_HALF_LIVES)
"""Columns F of the cross features."""
MATCHES = FIELD_SLOTS + 1
"""Columns before those of co-visitation."""


def cross_features(
    queries: QueryArrays, tokens: NDArray[np.int32], candidates: NDArray[np.integer], pairs: Covisitation
) -> NDArray[np.float32]:
    """Compute the cross features of B queries and U candidates.

    Columns, in order:

    - ``history_0`` .. ``history_3``, one per slot of fields (`hsnn.trainer.features.hashing`): the recency-weighted
      share of the history that has an attribute, averaged over the candidate's attributes of this slot: 0 to 1;
    - ``own``: number of the candidate's attributes that the user's features have, too;
    - ``session``, ``month``: co-visitation of the last items and the candidate (`Covisitation.scores`).

    Parameters
    ----------
    queries
        `history_items`, `user_tokens` and `now` are used.
    tokens : (rows, T) int32
        Content tokens by item row, -1 padded, distinct within a row.
    candidates : (U,)
        Item rows, each once.
    pairs
        Pairs counted so far.

    Returns
    -------
    (B, U, CROSS_FEATURES) float32
    """
    posted = tokens[candidates]  # (U, T)
    holder, column = np.nonzero(posted >= 0)
    # Only tokens that some candidate has: the table of weights is V wide instead of as wide as the hash space.
    vocabulary, words = np.unique(posted[holder, column], return_inverse=True)
    weights = _query_weights(queries, tokens, vocabulary)  # (2V, B): in the history, then in the user's features
    cells = holder * CROSS_FEATURES + vocabulary[words] % FIELD_SLOTS
    shares = 1 / np.bincount(cells, minlength=1)[cells]  # an average over a candidate's attributes of one slot
    # Every posting counts twice: into its slot's column from the history, and into `own` from the user's features.
    out = _sum_by_cell(
        weights,
        words=np.r_[words, words + len(vocabulary)],
        cells=np.r_[cells, holder * CROSS_FEATURES + FIELD_SLOTS],
        shares=np.r_[shares, np.ones(len(words))],
        size=len(candidates) * CROSS_FEATURES,
    ).reshape(len(queries.now), len(candidates), CROSS_FEATURES)
    out[..., MATCHES:] = pairs.scores(queries.history_items, queries.now, candidates)
    return out


def cross_features_of_query(
    queries: QueryArrays, number: int, tokens: NDArray[np.int32], candidates: NDArray[np.integer], pairs: Covisitation
) -> NDArray[np.float32]:
    """Compute `cross_features` of query `number` and n candidates in ascending order: (n, CROSS_FEATURES) float32.

    Examples
    --------
    >>> tokens = np.array([[8, 1], [8, 5], [4, -1]], np.int32)  # slots 0 and 1
    >>> query = QueryArrays(np.array([[0]]), np.array([[0]]), np.array([[4]]), np.array([[-1]]), np.array([9]))
    >>> cross_features_of_query(query, 0, tokens, np.array([1, 2]), Covisitation())[:, :5].tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    history, user, posted = queries.history_items[number], queries.user_tokens[number], tokens[candidates]
    rows, recency = history[history >= 0], _recency(history[None])
    asked = tokens[rows]
    # One query is cheaper with weights by token than with the sort of a vocabulary.
    weights = np.zeros((2, int(max(part.max(initial=-1) for part in (asked, user, posted))) + 2), np.float32)
    np.add.at(weights[0], asked, recency[:, None])
    weights[1, user] = 1
    weights[:, -1] = 0  # the padding token -1 reads the last column, and must add nothing
    cells = np.arange(len(candidates))[:, None] * FIELD_SLOTS + posted % FIELD_SLOTS  # (n, T)
    size = len(candidates) * FIELD_SLOTS
    sums = np.bincount(cells.ravel(), weights[0][posted].ravel(), size)
    counts = np.bincount(cells.ravel(), (posted >= 0).ravel(), size)
    out = np.empty((len(candidates), CROSS_FEATURES), np.float32)
    out[:, :FIELD_SLOTS] = (sums / np.maximum(counts, 1)).reshape(-1, FIELD_SLOTS)
    out[:, FIELD_SLOTS] = weights[1][posted].sum(1)
    out[:, MATCHES:] = pairs.scores_of_query(history, int(queries.now[number]), candidates)
    return out


def _query_weights(
    queries: QueryArrays, tokens: NDArray[np.int32], vocabulary: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Weigh the tokens of `vocabulary` (V,) in each query's history, then in its user's features: (2V, B)."""
    query, column = np.nonzero(queries.history_items >= 0)
    asked, user = tokens[queries.history_items[query, column]], queries.user_tokens
    word = np.full(int(max(part.max(initial=-1) for part in (asked, user, vocabulary))) + 2, -1)
    word[vocabulary] = np.arange(len(vocabulary))
    # Tokens that no candidate has (and padding) are word -1: they add to one extra last row, dropped at the end.
    weights = np.zeros((2 * len(vocabulary) + 1, len(user)), np.float32)
    recency = np.broadcast_to(_recency(queries.history_items)[:, None], asked.shape)
    cells = word[asked] * len(user) + query[:, None]
    np.add.at(weights.reshape(-1), cells.ravel(), recency.ravel())
    which = word[user]  # (B, C)
    which[which >= 0] += len(vocabulary)
    weights[which, np.arange(len(user))[:, None]] = 1
    return weights[:-1]


def _recency(history_items: NDArray[np.integer]) -> NDArray[np.float32]:
    """Weigh the known items of histories (B, L), in order, by ``1 / positions back``, 1 in all per history: (n,)."""
    weights = (history_items >= 0) / np.arange(history_items.shape[1], 0, -1)  # (B, L)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return weights[history_items >= 0].astype(np.float32)


def _sum_by_cell(
    table: NDArray[np.float32],
    words: NDArray[np.int64],
    cells: NDArray[np.int64],
    shares: NDArray[np.float64],
    size: int,
) -> NDArray[np.float32]:
    """Sum ``shares * table[words]`` by cell, for each column of the table: (B, size)."""
    # A weighted embedding bag is this sum, and never holds the (len(words), B) products.
    order = np.argsort(cells, kind="stable")
    begins = np.searchsorted(cells[order], np.arange(size))
    summed = functional.embedding_bag(
        torch.from_numpy(words[order]),
        torch.from_numpy(table),
        torch.from_numpy(begins),
        mode="sum",
        per_sample_weights=torch.from_numpy(shares[order].astype(np.float32)),
    )
    by_query: NDArray[np.float32] = summed.T.contiguous().numpy()  # copies faster than NumPy
    return by_query
