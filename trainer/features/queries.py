"""Queries as arrays of rows: histories, feature tokens and the time. Training and serving share them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import HOUR

DENSE_FEATURES = 7
"""Columns of `dense_features`."""


class QueryArrays(NamedTuple):
    """B queries as arrays.

    Attributes
    ----------
    history_items : (B, L) int32
        Item rows, newest last, -1 padded in front.
    history_times : (B, L) int64
        Epoch ms.
    user_tokens : (B, C) int32
    context_tokens : (B, X) int32
    now : (B,) int64
        Epoch ms.
    """

    history_items: NDArray[np.int32]
    history_times: NDArray[np.int64]
    user_tokens: NDArray[np.int32]
    context_tokens: NDArray[np.int32]
    now: NDArray[np.int64]

    def select(self, numbers: NDArray[np.int64] | slice) -> QueryArrays:
        """Return the queries at `numbers`."""
        return QueryArrays(
            history_items=self.history_items[numbers],
            history_times=self.history_times[numbers],
            user_tokens=self.user_tokens[numbers],
            context_tokens=self.context_tokens[numbers],
            now=self.now[numbers],
        )

    def concat(self, others: QueryArrays) -> QueryArrays:
        """Append the other queries to these."""
        return QueryArrays(*(np.concatenate(pair) for pair in zip(*[self, others], strict=True)))

    def feature_rows(self, buckets: int) -> NDArray[np.int64]:
        """Return rows (B, C + X) of the feature table: the user's, then the context's.

        The table holds `buckets` rows of user tokens, as many of context tokens, and a last one of zeros for padding.
        """
        context = np.where(self.context_tokens >= 0, self.context_tokens + buckets, 2 * buckets)
        return np.concatenate([np.where(self.user_tokens >= 0, self.user_tokens, 2 * buckets), context], 1).astype(
            np.int64
        )


def history_gaps(queries: QueryArrays) -> NDArray[np.float32]:
    """Compute the log minutes since each history item, 0 where there is none: (B, L)."""
    hours = np.maximum(queries.now[:, None] - queries.history_times, 0) / HOUR
    return np.where(queries.history_items >= 0, np.log1p(hours * 60), 0.0).astype(np.float32)


def dense_features(
    known: NDArray[np.bool_], last_gap: NDArray[np.float32], now: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute history length, time since the last item, and the phase of the day and the week: (B, 7).

    Phases are a sine and a cosine each, so that midnight and the end of a week are no jumps.
    """
    day, week = now / (24 * HOUR), now / (168 * HOUR)
    columns = [
        known[:, -1],
        known.mean(1),
        last_gap / 5,
        np.sin(2 * np.pi * day),
        np.cos(2 * np.pi * day),
        np.sin(2 * np.pi * week),
        np.cos(2 * np.pi * week),
    ]
    return np.stack(columns, 1).astype(np.float32)


def user_field_widths(config: ModelConfig) -> tuple[int, ...]:
    """Return the widths of the user tower's fields: history mean, last item, user features, context, dense numbers."""
    return config.dim, config.dim, config.token_dim, config.token_dim, DENSE_FEATURES
