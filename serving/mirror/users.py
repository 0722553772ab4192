"""Ids, histories and hashed features of the mirrored users."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.row_ids import RowIds
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.rowstore.arrays import Array, grown


class MirroredUsers:
    """Users by row.

    Attributes
    ----------
    ids : RowIds
    histories : UserHistories
        Last items of each user.
    tokens : (rows, C) int32
        Hashed features, -1 padded.
    """

    def __init__(self, config: ModelConfig, ids: Iterable[str], arrays: dict[str, Array]) -> None:
        self.ids = RowIds(ids)
        self.histories = UserHistories(config.history)
        self.tokens: NDArray[np.int32] = np.full((1024, config.user_tokens), -1, np.int32)
        self._set_users(np.arange(len(arrays["items"])), arrays["items"], arrays["times"], arrays["tokens"])

    def apply_state(self, delta: StateDelta) -> None:
        """Overwrite the users in a state delta."""
        for row, name in zip(delta.new_user_rows.tolist(), delta.new_users, strict=True):
            self.ids.assign(row, name)
        self._set_users(delta.user_rows, delta.user_items, delta.user_times, delta.user_tokens)

    def _set_users(
        self,
        rows: NDArray[np.integer],
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        tokens: NDArray[np.int32],
    ) -> None:
        self.histories.set_rows(rows, items, times)
        self.tokens = grown(self.tokens, int(rows.max(initial=-1)) + 1, -1)
        self.tokens[rows] = tokens
