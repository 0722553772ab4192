"""Queries at a fixed rate, every answer checked against what its producer knows of its items."""

from __future__ import annotations

import time

from benchmarks.freshness.client_thread import ClientThread
from benchmarks.freshness.producer import ProducerThread

# users who ask, the producer's, and items per answer
_USERS, _K = 5000, 100


class QueryLoad(ClientThread):
    """Asks for users in turn until `end`.

    Attributes
    ----------
    seconds : list of float
        Of every answer.
    items, expired : int
        Items returned; those past their end at the watermark of their answer.
    """

    def __init__(self, server: str, source: ProducerThread, rate: float) -> None:
        super().__init__("asker", server, 1.0 / rate)
        self._source = source
        self.seconds: list[float] = []
        self.items = self.expired = 0

    def call_once(self) -> None:
        """Ask for one user."""
        began = time.perf_counter()
        answer = self.client.retrieve(f"u{len(self.seconds) % _USERS}", k=_K)
        self.seconds.append(time.perf_counter() - began)
        ends = [self._source.expires_at[item] for item in answer.items]
        self.items += len(ends)
        self.expired += sum(0 < end <= answer.as_of for end in ends)
