"""Cross features of many queries at once: the columns of `hsnn.trainer.features.cross_features`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.cross_features import CROSS_FEATURES, MATCHES, recency_weights
from hsnn.trainer.features.hashing import FIELD_SLOTS
from hsnn.trainer.features.queries import QueryArrays


def cross_features(
    queries: QueryArrays, tokens: NDArray[np.int32], candidates: NDArray[np.integer], pairs: Covisitation
) -> NDArray[np.float32]:
    """Compute the cross features of B queries and U candidates.

    Columns are those of `hsnn.trainer.features.cross_features.cross_features_of_query`.

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
    recency = np.broadcast_to(recency_weights(queries.history_items)[:, None], asked.shape)
    cells = word[asked] * len(user) + query[:, None]
    np.add.at(weights.reshape(-1), cells.ravel(), recency.ravel())
    which = word[user]  # (B, C)
    which[which >= 0] += len(vocabulary)
    weights[which, np.arange(len(user))[:, None]] = 1
    return weights[:-1]


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
