"""User-item cross features: matches of an item's attributes with its user's, and co-visitation.

HSNN (arXiv 2408.06653) §3, interaction tower, "I2IF": item attributes are posted under their token, the user's
attributes are the query, and one look-up tells which candidates have them, ``is_topic_match(user, item)``. A user's
attributes are the hashed user features and the content tokens of the last items, weighted by recency. Training and
serving compute the same columns: `hsnn.trainer.modules.cross_inputs` for many queries at once, with torch, and
`cross_features_of_query` for one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.hashing import FIELD_SLOTS
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.messages import COVISIT_HALF_LIVES

CROSS_FEATURES = FIELD_SLOTS + 1 + len(COVISIT_HALF_LIVES)
"""Columns F of the cross features."""
MATCHES = FIELD_SLOTS + 1
"""Columns before those of co-visitation."""


def cross_features_of_query(
    queries: QueryArrays, number: int, tokens: NDArray[np.int32], candidates: NDArray[np.integer], pairs: Covisitation
) -> NDArray[np.float32]:
    """Compute the cross features of query `number` and n candidates in ascending order: (n, CROSS_FEATURES) float32.

    Columns, in order:

    - ``history_0`` .. ``history_3``, one per slot of fields (`hsnn.trainer.features.hashing`): the recency-weighted
      share of the history that has an attribute, averaged over the candidate's attributes of this slot: 0 to 1;
    - ``own``: number of the candidate's attributes that the user's features have, too;
    - ``session``, ``month``: co-visitation of the last items and the candidate (`Covisitation.scores`).

    Examples
    --------
    >>> tokens = np.array([[8, 1], [8, 5], [4, -1]], np.int32)  # slots 0 and 1
    >>> query = QueryArrays(np.array([[0]]), np.array([[0]]), np.array([[4]]), np.array([[-1]]), np.array([9]))
    >>> cross_features_of_query(query, 0, tokens, np.array([1, 2]), Covisitation())[:, :5].tolist()
    [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    history, user, posted = queries.history_items[number], queries.user_tokens[number], tokens[candidates]
    rows, recency = history[history >= 0], recency_weights(history[None])
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


def recency_weights(history_items: NDArray[np.integer]) -> NDArray[np.float32]:
    """Weigh the known items of histories (B, L), in order, by ``1 / positions back``, 1 in all per history: (n,)."""
    weights = (history_items >= 0) / np.arange(history_items.shape[1], 0, -1)  # (B, L)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    return weights[history_items >= 0].astype(np.float32)
