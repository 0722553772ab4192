"""What the model is asked, from rows to inputs: histories, features and the time. Training and serving share it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.item_state import HOUR
from trainer.model import Inputs


class Queries(NamedTuple):
    """B requests as arrays.

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

    def feature_rows(self, buckets: int) -> NDArray[np.int64]:
        """Rows (B, C + X) of the feature table: the user's, then the context's behind `buckets`; absent ones last."""
        context = np.where(self.context_tokens >= 0, self.context_tokens + buckets, 2 * buckets)
        return np.concatenate([np.where(self.user_tokens >= 0, self.user_tokens, 2 * buckets), context], 1).astype(
            np.int64
        )


def inputs(queries: Queries, history: Tensor, table: Tensor, rows: Tensor) -> Inputs:
    """Model inputs of `queries`.

    Parameters
    ----------
    queries
        B requests.
    history : (B, L, d)
        First static vectors of the history's items; zero where absent.
    table : (n, t)
        Feature rows; the last one is of zeros.
    rows : (B, C + X)
        Rows of `table`: the user's features, then the context's.
    """
    known = queries.history_items >= 0  # (B, L)
    hours = np.maximum(queries.now[:, None] - queries.history_times, 0) / HOUR
    gaps = np.where(known, np.log1p(hours * 60), 0.0).astype(np.float32)  # log minutes
    own = queries.user_tokens.shape[1]
    last = len(table) - 1
    return Inputs(
        history,
        torch.from_numpy(gaps),
        torch.from_numpy(known.astype(np.float32)),
        functional.embedding_bag(rows[:, :own], table, mode="sum", padding_idx=last),
        functional.embedding_bag(rows[:, own:], table, mode="sum", padding_idx=last),
        torch.from_numpy(dense_features(known, gaps[:, -1], queries.now)),
    )


def dense_features(
    known: NDArray[np.bool_], last_gap: NDArray[np.float32], now: NDArray[np.int64]
) -> NDArray[np.float32]:
    """History length, time since the last item, and the phase of the day and the week: (B, 7)."""
    day, week = now / (24 * HOUR), now / (168 * HOUR)
    columns = [
        known[:, -1], known.mean(1), last_gap / 5,
        np.sin(2 * np.pi * day), np.cos(2 * np.pi * day), np.sin(2 * np.pi * week), np.cos(2 * np.pi * week),
    ]  # fmt: skip
    return np.stack(columns, 1).astype(np.float32)
