"""Ids, histories, memories and hashed features of the mirrored users."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.row_ids import RowIds
from hsnn.trainer.config.memory import MOST_ITEMS
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.features.user_memory import UserMemory
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.byte_strings import ByteStrings


class MirroredUsers:
    """Users by row.

    Parameters
    ----------
    config
    ids, arrays
        Of a snapshot.
    keep_ms
        Time after which an item is forgotten (`hsnn.trainer.messages.ExclusionRule`).

    Attributes
    ----------
    ids : RowIds
    histories : UserHistories
        Last items of each user.
    memory : UserMemory
        Past items of each user, as many as the trainer remembers.
    tokens : (rows, C) int32
        Hashed features, -1 padded.
    """

    def __init__(
        self, config: ModelConfig, ids: Iterable[str], arrays: dict[str, Array], keep_ms: int | None = None
    ) -> None:
        self.ids = RowIds(ids)
        self.histories = UserHistories(config.history)
        self.memory = UserMemory(MOST_ITEMS, keep_ms)
        self.tokens: NDArray[np.int32] = np.full((1024, config.user_tokens), -1, np.int32)
        rows = np.arange(len(arrays["items"]))
        self._set_users(rows, arrays["items"], arrays["times"], arrays["tokens"])
        if "memory" in arrays:
            self._set_memory(rows, arrays["memory"], arrays["memory_lengths"])

    def apply_state(self, delta: StateDelta) -> None:
        """Overwrite the users in a state delta."""
        self.ids.assign(delta.new_user_rows.tolist(), delta.new_users)
        self._set_users(delta.user_rows, delta.user_items, delta.user_times, delta.user_tokens)
        if len(delta.user_memory_lengths):
            self._set_memory(delta.user_rows, delta.user_memory, delta.user_memory_lengths)

    def _set_memory(self, rows: NDArray[np.integer], entries: NDArray[np.uint8], lengths: NDArray[np.int32]) -> None:
        self.memory.set_rows(rows, ByteStrings(entries, lengths))

    def _set_users(
        self,
        rows: NDArray[np.integer],
        items: NDArray[np.int32],
        times: NDArray[np.int64],
        tokens: NDArray[np.int32],
    ) -> None:
        self.histories.set_rows(rows, items, times)
        self.memory.reserve(len(self.histories.items))
        self.tokens = grown(self.tokens, int(rows.max(initial=-1)) + 1, -1)
        self.tokens[rows] = tokens
