"""Queries at a fixed rate, every answer checked against what its producer knows of its items."""

from __future__ import annotations

import time
from threading import Event, Thread

from benchmarks.freshening.source import Source
from serving.client import Client

_USERS, _K = 5000, 100


class Asker(Thread):
    """Asks for users in turn until `end`.

    Attributes
    ----------
    seconds : list of float
        Of every answer.
    items, expired : int
        Items returned; those past their end at the watermark of their answer.
    """

    def __init__(self, server: str, source: Source, rate: float) -> None:
        super().__init__(name="asker", daemon=True)
        self._client, self._source, self._pause = Client(server, timeout=30.0), source, 1.0 / rate
        self._ended = Event()
        self.seconds: list[float] = []
        self.items = self.expired = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Ask until `end`."""
        try:
            while not self._ended.wait(self._pause):
                began = time.perf_counter()
                answer = self._client.retrieve(f"u{len(self.seconds) % _USERS}", k=_K)
                self.seconds.append(time.perf_counter() - began)
                ends = [self._source.expires_at[item] for item in answer.items]
                self.items += len(ends)
                self.expired += sum(0 < end <= answer.as_of for end in ends)
        except Exception as error:
            self.error = error
        finally:
            self._client.close()

    def end(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(30.0)
