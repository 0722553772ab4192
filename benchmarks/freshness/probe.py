"""Probes of single items: when the server first returns them, and when no longer."""

from __future__ import annotations

import time

from benchmarks.freshness.client_thread import ClientThread
from benchmarks.freshness.producer import ProducerThread
from hsnn.serving.schema import Filters, Request

# seconds between queries
_EVERY = 0.04
# seconds between two items that are probed
_SPACING = 0.25
# seconds after which an item counts as lost
_MAX_SECONDS = 30.0


class ItemProbe(ClientThread):
    """Takes the newest item every quarter of a second and asks for it alone, by a filter that no other item passes.

    Attributes
    ----------
    arrival : list of float
        Seconds from sending to the first answer that holds the item.
    departure : list of float
        Seconds from the item's end to the first answer without it; wall clock, which event time follows.
    lost : int
        Items that did not come, or did not go, within 30 s.
    """

    def __init__(self, server: str, source: ProducerThread) -> None:
        super().__init__("watcher", server, _EVERY)
        self._source = source
        self._coming: set[str] = set()
        self._going: set[str] = set()
        self._last = 0.0
        self.arrival: list[float] = []
        self.departure: list[float] = []
        self.lost = 0

    def call_once(self) -> None:
        """Choose an item to probe, and query all probed items; those under way at the end are left out."""
        self._choose()
        self._ask()

    def _choose(self) -> None:
        now = time.monotonic()
        if now - self._last >= _SPACING and self._source.sent_at:
            self._last = now
            self._coming.add(f"i{len(self._source.sent_at) - 1}")

    def _ask(self) -> None:
        now = time.time() * 1000
        due = [name for name in self._going if now >= self._source.expires_at[name]]
        names = [*self._coming, *due]
        if not names:
            return
        asked = [Request(user="watcher", k=1, filters=Filters(items=[name])) for name in names]
        answers = self.client.retrieve_many(asked)
        then = time.time() * 1000
        for name, answer in zip(names, answers, strict=True):
            (self._came if name in self._coming else self._went)(name, name in answer.items, then)

    def _came(self, name: str, there: bool, now: float) -> None:
        seconds = (now - self._source.sent_at[name]) / 1000
        if there or seconds > _MAX_SECONDS:
            self._coming.remove(name)
            self.lost += not there
            if there:
                self.arrival.append(seconds)
                self._going |= {name} if self._source.expires_at[name] else set()

    def _went(self, name: str, there: bool, now: float) -> None:
        seconds = (now - self._source.expires_at[name]) / 1000
        if not there or seconds > _MAX_SECONDS:
            self._going.remove(name)
            self.lost += there
            if not there:
                self.departure.append(seconds)
