"""ReplayBuffer: past events that are learned again, against forgetting, on streams that change slowly.

A ring of the last events, each with the query it was. On a slow catalogue a single pass with sparse updates learns far
too little from an event; on news, a click of an hour ago teaches the wrong thing. Which of the two a stream is, the
trainer knows by itself: it is the half-life whose popularity predicts best (`hsnn.trainer.features.half_life`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_history import compact_histories, removed_mask
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.write_barrier import WriteBarrier


class Examples(NamedTuple):
    """Events to learn from: queries (n), their items (n,) int64, and weights (n,) float32."""

    queries: QueryArrays
    items: NDArray[np.int64]
    weights: NDArray[np.float32]

    def concatenated(self, others: Examples) -> Examples:
        """Return these followed by the others."""
        queries = self.queries.concat(others.queries)
        return Examples(queries, np.r_[self.items, others.items], np.r_[self.weights, others.weights])


class ReplayBuffer:
    """The last `size` events.

    Attributes
    ----------
    seen : int
        Events put in so far.
    barrier : WriteBarrier
        Of places in the ring.

    Examples
    --------
    >>> replay = ReplayBuffer(ModelConfig(history=1, user_tokens=1, context_tokens=1), size=2)
    >>> one = np.ones((3, 1), np.int32)
    >>> queries = QueryArrays(one, one.astype(np.int64), one, one, np.arange(3))
    >>> replay.append(Examples(queries, np.arange(3), np.ones(3, np.float32)), users=np.array([7, 7, 8]))
    >>> sorted(set(replay.sample(50, np.random.default_rng(0)).items.tolist()))
    [1, 2]
    """

    def __init__(self, config: ModelConfig, size: int) -> None:
        history, user, context = config.history, config.user_tokens, config.context_tokens
        self.size, self.seen, self.barrier = size, 0, WriteBarrier()
        self.arrays: dict[str, Array] = {
            "history_items": np.full((size, history), -1, np.int32),
            "history_times": np.zeros((size, history), np.int64),
            "user_tokens": np.full((size, user), -1, np.int32),
            "context_tokens": np.full((size, context), -1, np.int32),
            "now": np.zeros(size, np.int64),
            "items": np.zeros(size, np.int64),
            "weights": np.zeros(size, np.float32),
            "users": np.full(size, -1, np.int64),
        }

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return self.arrays

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of the columns of a buffer of the same size."""
        for name, array in self.arrays.items():
            array[: len(columns[name])] = columns[name]

    def append(self, examples: Examples, users: NDArray[np.int64]) -> None:
        """Append events of `users` (n,), overwriting the oldest ones."""
        columns = {**examples.queries._asdict(), "items": examples.items, "weights": examples.weights, "users": users}
        count = len(examples.items)
        places = (self.seen + np.arange(count))[-self.size :] % self.size if self.size else np.zeros(0, np.int64)
        self.barrier.before_write(places)
        for name, column in columns.items():
            self.arrays[name][places] = column[count - len(places) :]
        self.seen += count

    def forget_users(self, users: NDArray[np.int64]) -> None:
        """Erase `users` (n,): their events stay in place, without history, features or weight."""
        theirs = np.flatnonzero(np.isin(self.arrays["users"], users))
        self.barrier.before_write(theirs)
        for name in ("history_items", "user_tokens", "context_tokens"):
            self.arrays[name][theirs] = -1
        self.arrays["weights"][theirs] = 0

    def forget_items(self, gone: NDArray[np.bool_]) -> None:
        """Erase items: events on them are not drawn any more, histories close up; see `user_history.removed_mask`."""
        self.barrier.before_write(slice(None))
        events = slice(0, len(self))
        items, history, times = (self.arrays[name][events] for name in ("items", "history_items", "history_times"))
        theirs, rows = np.flatnonzero(removed_mask(items, gone)), np.flatnonzero(removed_mask(history, gone).any(1))
        self.barrier.before_write(np.union1d(theirs, rows))
        items[theirs] = -1
        history[rows], times[rows] = compact_histories(history[rows], times[rows], gone)

    def sample(self, count: int, rng: np.random.Generator) -> Examples:
        """Draw `count` events, uniformly and with repetition; fewer where their items were forgotten."""
        index = rng.integers(len(self), size=count)
        index = index[self.arrays["items"][index] >= 0]
        columns = {name: array[index] for name, array in self.arrays.items() if name != "users"}
        items, weights = columns.pop("items"), columns.pop("weights")
        return Examples(QueryArrays(**columns), items, weights)
