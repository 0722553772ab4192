"""Load shedding: while the consumer is far behind, old engagements are dropped. Off by default.

With hysteresis: dropping begins when the next engagement was sent longer than `above` ago, and ends at the first one
that was sent at most `below` ago. What is dropped depends on the wall clock, so two runs over one log differ: a run
with load shedding cannot be repeated bit by bit. Items, users and commands are never dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from prometheus_client import Gauge

from hsnn.streaming.decode.event_table import EventTable, RowKind

DROPPED_FOR_LAG = "lag"
"""Reason under which shed engagements are counted."""

SHEDDING = Gauge("hsnn_shedding", "1 while engagements are dropped because the trainer is too far behind.")


class LoadShedder:
    """Turns engagements that are too old into rows of kind `SHED`.

    Parameters
    ----------
    above, below
        Seconds; nothing is ever dropped if `above` is None.
    clock
        Wall time, epoch seconds.
    """

    def __init__(self, above: float | None, below: float, clock: Callable[[], float] = time.time) -> None:
        self._above, self._below, self._clock = above, below, clock
        self.shedding = False

    def mark(self, rows: EventTable) -> None:
        """Mark the rows to shed; rows come in the order of their delivery, before anything else counts them."""
        if self._above is None:
            return
        engagements = np.flatnonzero(rows.kind <= RowKind.IMPRESSION)
        if not len(engagements):
            return
        ages = self._clock() - rows.sent_at[engagements] / 1000  # (n,) seconds
        self.shedding = self.shedding or bool(ages[0] > self._above)
        if self.shedding:
            fresh = np.flatnonzero(ages <= self._below)
            stop = int(fresh[0]) if len(fresh) else len(engagements)
            rows.kind[engagements[:stop]] = RowKind.SHED
            self.shedding = not len(fresh)
        SHEDDING.set(self.shedding)
