"""Sampling of queries from the event stream. The sample depends on seed and stream, not on the configuration."""

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
from hsnn.trainer.training.prepared import PreparedBatch

# Number of last items of a user. An event that repeats one of them is not sampled: recommending a repeat is trivial.
RECENT_ITEMS = 10


class SampledQueries(NamedTuple):
    """Queries sampled from one batch.

    Attributes
    ----------
    requests : n requests
        As a client would send them.
    target_rows : (n,) int64
        Rows of the items that were engaged with next.
    target_ids : n texts
        Ids of the same items.
    event : (n,) int64
        Positions in the stream.
    ts : (n,) int64
        Event time, epoch ms.
    age : (n,) int64
        Stream time since the target was first seen, ms; 0 if this event is its first.
    excluded : (n, E) int32
        Rows of the user's past items that no method may return, -1 padded: what the server leaves out
        (`hsnn.trainer.features.exclusion`).
    history : (n, RECENT_ITEMS) int32
        Rows of the user's last items, newest last, padded with -1 in front.
    users : (n,) int64
        Rows of the users, -1 for one without a row.
    """

    requests: list[Request]
    target_rows: NDArray[np.int64]
    target_ids: list[str]
    event: NDArray[np.int64]
    ts: NDArray[np.int64]
    age: NDArray[np.int64]
    excluded: NDArray[np.int32]
    history: NDArray[np.int32]
    users: NDArray[np.int64]

    def select(self, chosen: slice) -> SampledQueries:
        """Select a range of the queries."""
        return SampledQueries(
            requests=self.requests[chosen],
            target_rows=self.target_rows[chosen],
            target_ids=self.target_ids[chosen],
            event=self.event[chosen],
            ts=self.ts[chosen],
            age=self.age[chosen],
            excluded=self.excluded[chosen],
            history=self.history[chosen],
            users=self.users[chosen],
        )


class QueryWindow(NamedTuple):
    """Events ``start <= event < stop`` of the stream, of which a `share` is sampled."""

    share: float
    start: int
    stop: int

    @classmethod
    def from_edges(cls, total: int, share: float, start: float, stop: float) -> QueryWindow:
        """Make a window; `start` and `stop` up to 1 are shares of the `total` events, above 1 counts of events.

        Examples
        --------
        >>> QueryWindow.from_edges(1000, 0.1, 0.5, 1.0), QueryWindow.from_edges(1000, 0.1, 0.2, 600)
        (QueryWindow(share=0.1, start=500, stop=1000), QueryWindow(share=0.1, start=200, stop=600))

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

    def before(self, queries: int) -> QueryWindow:
        """Make the window before this one, half as far back as the stream goes, with about so many `queries`.

        Examples
        --------
        >>> QueryWindow(0.05, 600, 1200).before(30)
        QueryWindow(share=0.1, start=300, stop=600)
        """
        start = self.start // 2
        return QueryWindow(min(queries / max(self.start - start, 1), 1.0), start, self.start)


class QuerySampler:
    """Samples queries batch by batch.

    Parameters
    ----------
    window
        Of the measured queries.
    seed
    earlier
        Number of queries sampled before the window, about; the settings of the baselines are chosen on them.
    """

    def __init__(self, window: QueryWindow, seed: int, earlier: int = 0) -> None:
        self.window, self._earlier = window, window.before(earlier)
        # Two generators, so that the measured queries do not depend on the earlier ones.
        self._rng, self._earlier_rng = np.random.default_rng([seed, 3]), np.random.default_rng([seed, 4])
        self._histories = UserHistories(RECENT_ITEMS)
        self._events_seen = 0

    def sample(self, prepared: PreparedBatch, learner: Learner, k: int) -> tuple[SampledQueries, NDArray[np.int32]]:
        """Sample queries from a batch that has not been learned yet; each requests `k` items.

        Returns
        -------
        queries
            The sampled events as requests, in order of the stream: earlier ones before those of the window.
        history
            The last items (B, RECENT_ITEMS) before each event of the batch, sampled or not.
        """
        self._histories.reserve(len(learner.users))
        history, _ = self._histories.extend(prepared.users, prepared.items, prepared.ts)
        event = self._events_seen + prepared.indices
        self._events_seen += prepared.events
        # One random number per event of the batch, valid or not, so that the sample does not depend on what is valid.
        drawn = np.zeros(len(event), np.bool_)
        for rng, window in ((self._rng, self.window), (self._earlier_rng, self._earlier)):
            draws = rng.random(prepared.events)[prepared.indices]
            drawn |= (draws < window.share) & (event >= window.start) & (event < window.stop)
        chosen = np.flatnonzero(drawn & ~(history == prepared.items[:, None]).any(1))
        item_ids, user_ids, targets = learner.items.table.ids, learner.users.table.ids, prepared.items[chosen]
        requests = [
            _request(user_ids[prepared.users[index]], item_ids, prepared=prepared, index=index, k=k)
            for index in chosen.tolist()
        ]
        queries = SampledQueries(
            requests=requests,
            target_rows=targets,
            target_ids=[item_ids[row] for row in targets],
            event=event[chosen],
            ts=prepared.ts[chosen],
            age=np.maximum(prepared.ts[chosen] - learner.states.first[targets], 0),
            excluded=prepared.excluded[chosen],
            history=history[chosen],
            users=prepared.users[chosen],
        )
        return queries, history


def _request(user: str, item_ids: Sequence[str], *, prepared: PreparedBatch, index: int, k: int) -> Request:
    """Make the request of event `index` of a batch, with the history that the trainer's own query has."""
    rows, times = prepared.queries.history_items[index], prepared.queries.history_times[index]
    history: list[Id | HistoryItem] = [
        HistoryItem(item_ids[row], int(time))
        for row, time in zip(rows.tolist(), times.tolist(), strict=True)
        if row >= 0
    ]
    return Request(user=user, k=k, history=history, context=prepared.contexts[index], as_of=int(prepared.ts[index]))
