"""Which events are asked, and as what: the sample depends on the seed and the stream alone, on no configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.errors import ProtocolError
from hsnn.serving.schema import HistoryItem, Request
from hsnn.streaming.schema.events import Id
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import Prepared

REPEATS = 10
"""An event that repeats one of the user's last so many items is not asked."""


class Asked(NamedTuple):
    """Queries of one batch.

    Attributes
    ----------
    requests : n requests
        As a client would send them.
    targets : (n,) int64
        Rows of the items that were engaged with next.
    names : n texts
        The targets' ids.
    event : (n,) int64
        Places in the stream.
    ts : (n,) int64
        Epoch ms.
    age : (n,) int64
        Stream time since the target was first seen, ms; 0 for one that this event brings.
    history : (n, REPEATS) int32
        Rows of the user's last items, newest last, -1 padded in front.
    """

    requests: list[Request]
    targets: NDArray[np.int64]
    names: list[str]
    event: NDArray[np.int64]
    ts: NDArray[np.int64]
    age: NDArray[np.int64]
    history: NDArray[np.int32]

    def part(self, chosen: slice) -> Asked:
        """Take some of them."""
        return Asked(
            self.requests[chosen],
            self.targets[chosen],
            self.names[chosen],
            self.event[chosen],
            self.ts[chosen],
            self.age[chosen],
            self.history[chosen],
        )


class Window(NamedTuple):
    """Events ``start <= event < stop`` of the stream, of which a share is asked."""

    share: float
    start: int
    stop: int

    @classmethod
    def of(cls, total: int, share: float, start: float, stop: float) -> Window:
        """Make a window; `start` and `stop` up to 1 are shares of the `total` events, above 1 counts of events.

        Examples
        --------
        >>> Window.of(1000, 0.1, 0.5, 1.0), Window.of(1000, 0.1, 0.2, 600)
        (Window(share=0.1, start=500, stop=1000), Window(share=0.1, start=200, stop=600))

        Raises
        ------
        ProtocolError
            The window is empty, or begins after the stream's end.
        """
        first, last = (int(np.ceil(edge * total)) if edge <= 1 else int(edge) for edge in (start, stop))
        if first >= min(last, total):
            raise ProtocolError(
                f"queries from event {first:,} to {last:,} of a stream of {total:,} events are none; "
                "choose query_from below query_to, as shares (up to 1) or as numbers of events (above 1)"
            )
        return cls(share, first, min(last, total))


class Sampler:
    """Draws the events to ask, batch by batch."""

    def __init__(self, window: Window, seed: int) -> None:
        self.window = window
        self._rng = np.random.default_rng([seed, 3])
        self._histories = UserHistories(REPEATS)
        self._seen = 0

    def draw(self, prepared: Prepared, learner: Learner, k: int) -> tuple[Asked, NDArray[np.int32]]:
        """Choose queries of a batch that has not been learned; `k` items will be asked for.

        Returns
        -------
        queries, history
            And the last items (B, REPEATS) before each event of the batch, asked or not.
        """
        self._histories.reserve(len(learner.users))
        history, _ = self._histories.extend(prepared.users, prepared.items, prepared.ts)
        event = self._seen + prepared.at
        self._seen += prepared.events
        drawn = self._rng.random(prepared.events)[prepared.at] < self.window.share
        drawn &= (event >= self.window.start) & (event < self.window.stop)
        at = np.flatnonzero(drawn & ~(history == prepared.items[:, None]).any(1))
        names, users, targets = learner.items.table.ids, learner.users.table.ids, prepared.items[at]
        requests = [_request(users[prepared.users[one]], names, prepared, one, k) for one in at.tolist()]
        age = np.maximum(prepared.ts[at] - learner.states.first[targets], 0)
        asked = Asked(requests, targets, [names[row] for row in targets], event[at], prepared.ts[at], age, history[at])
        return asked, history


def _request(user: str, names: Sequence[str], prepared: Prepared, at: int, k: int) -> Request:
    rows, times = prepared.queries.history_items[at], prepared.queries.history_times[at]
    history: list[Id | HistoryItem] = [
        HistoryItem(names[row], int(time)) for row, time in zip(rows.tolist(), times.tolist(), strict=True) if row >= 0
    ]
    return Request(user=user, k=k, history=history, context=prepared.contexts[at], as_of=int(prepared.ts[at]))
