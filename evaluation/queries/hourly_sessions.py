"""Sessions of a stream and the hours that they begin in: what the hourly session protocol asks.

A session is a user's events with gaps of at most 30 minutes, or the user where a data set has one for each session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.queries.query_sampling import RECENT_ITEMS, SampledQueries
from hsnn.serving.schema import HistoryItem, Request
from hsnn.serving.search.filters import MOST_GIVEN
from hsnn.streaming.datasets.base import Dataset
from hsnn.streaming.schema.events import Id
from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.training.learner import Learner

# Milliseconds without an event after which a user's next one begins another session: the usual 30 minutes.
SESSION_GAP = 30 * 60_000

# Milliseconds per hour.
HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class SessionTargets:
    """Last clicks of sessions, which are to be predicted from the clicks before them.

    Attributes
    ----------
    event : (n,) int64
        Positions of the last clicks in the stream, ascending.
    hour : (n,) int64
        Hour that the session begins in; the first hour of the stream is 0.
    clicks : n arrays
        Positions of the session's earlier clicks, oldest first.
    """

    event: NDArray[np.int64]
    hour: NDArray[np.int64]
    clicks: Sequence[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.event)

    def select(self, chosen: NDArray[np.int64]) -> SessionTargets:
        """Select some targets by index (m,), ascending."""
        return SessionTargets(self.event[chosen], self.hour[chosen], [self.clicks[index] for index in chosen.tolist()])

    def queries(self, data: Dataset, learner: Learner, *, k: int, own: bool) -> SampledQueries:
        """Make the queries: `k` items for somebody of whom nothing but the session's earlier clicks is known.

        The ids of items that the learner does not know yet have the row -1: they can be neither found nor used.

        Parameters
        ----------
        own
            Whether the baselines may have learned the session's earlier clicks, and are to leave it out.
        """
        clicks, items, users = data.engagements, learner.items.table, learner.users.table
        target_ids = [clicks.item[event] for event in self.event.tolist()]
        longest = min(max((len(before) for before in self.clicks), default=0), MOST_GIVEN)
        session: NDArray[np.int32] = np.full((len(self), max(longest, RECENT_ITEMS)), -1, np.int32)
        times = np.zeros(session.shape, np.int64)
        requests = []
        for number, (event, before) in enumerate(zip(self.event.tolist(), self.clicks, strict=True)):
            names = [clicks.item[index] for index in before.tolist()]
            rows = items.find(names)
            known = np.flatnonzero(rows >= 0)[-session.shape[1] :]
            session[number, session.shape[1] - len(known) :] = rows[known]
            times[number, session.shape[1] - len(known) :] = clicks.ts[before[known]]
            given: list[Id | HistoryItem] = [
                HistoryItem(name, int(clicks.ts[index])) for name, index in zip(names, before.tolist(), strict=True)
            ]
            # No user has this id: what is known of the user beside the session plays no part.
            requests.append(
                Request(user="", k=k, history=given, context=clicks.context[event], as_of=int(clicks.ts[event]))
            )
        rows = items.find(target_ids)
        known = np.maximum(rows, 0)
        now = clicks.ts[self.event]
        return SampledQueries(
            requests=requests,
            target_rows=rows,
            target_ids=target_ids,
            event=self.event,
            ts=now,
            age=np.where(rows >= 0, np.maximum(now - learner.states.first[known], 0), 0),
            excluded=excluded_items(learner.exclusion, session, times, memory=MemoryEntries.empty(len(self)), now=now),
            history=session[:, -RECENT_ITEMS:],
            users=users.find([clicks.user[event] for event in self.event.tolist()])
            if own
            else np.full(len(self), -1, np.int64),
        )


def session_targets(data: Dataset, hours: int) -> SessionTargets:
    """Find the last clicks of the sessions that begin in hours 1 to `hours`, of two clicks or more.

    A session whose last click repeats an earlier one is left out: no method may return what it has shown.
    """
    ts, items = data.engagements.ts, data.engagements.item
    users = np.unique(np.asarray(data.engagements.user, dtype=object).astype(str), return_inverse=True)[1]
    order = np.lexsort((np.arange(len(ts)), users))
    begins = np.r_[True, (users[order][1:] != users[order][:-1]) | (np.diff(ts[order]) > SESSION_GAP)]
    starts = np.flatnonzero(begins)
    hour = (ts[order[starts]] - ts[0]) // HOUR
    sizes = np.diff(np.r_[starts, len(order)])
    wanted = np.flatnonzero((hour >= 1) & (hour <= hours) & (sizes >= 2))
    sessions = [order[starts[index] : starts[index] + sizes[index]] for index in wanted.tolist()]
    new = [items[int(one[-1])] not in {items[int(click)] for click in one[:-1]} for one in sessions]
    kept = [index for index, is_new in enumerate(new) if is_new]
    event = np.array([sessions[index][-1] for index in kept], np.int64)
    by_time = np.argsort(event)
    return SessionTargets(event[by_time], hour[wanted][kept][by_time], [sessions[kept[at]][:-1] for at in by_time])


def hour_edges(data: Dataset) -> NDArray[np.int64]:
    """Positions of the first events of each hour after the first, ascending."""
    hour = (np.maximum.accumulate(data.engagements.ts) - data.engagements.ts[0]) // HOUR
    return np.flatnonzero(np.diff(hour)) + 1
