"""Queries as arrays of rows: histories, feature tokens and the time. Training and serving share them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
