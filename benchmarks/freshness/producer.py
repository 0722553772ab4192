"""A producer at a fixed rate: items that arrive and expire, and users who engage with living ones."""

from __future__ import annotations

import time
from threading import Event, Thread

import numpy as np

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.schema.events import Interaction, Item, encode

# seconds between sends
_TICK = 0.02
# topics of items, and users
_CLUSTERS, _USERS = 64, 5000
_RECENT = 4000
"""Engagements are with one of so many newest items."""


class ProducerThread(Thread):
    """Sends until `end`; event time is the wall clock.

    Parameters
    ----------
    log, config
        Where to, and under which topics.
    items, engagements
        Per second.
    life
        Seconds; every second item expires between half and all of it after it came.

    Attributes
    ----------
    expires_at : id -> epoch ms, 0 = never; written before the item is sent
    sent_at : id -> epoch ms
    late : float
        Seconds that sending has fallen behind its rate, at most.
    """

    def __init__(
        self, log: EventLog, config: StreamingConfig, items: float, engagements: float, life: float, seed: int = 0
    ) -> None:
        super().__init__(name="source", daemon=True)
        self._log, self._config, self._rates, self._life = log, config, (items, engagements), life
        self._rng = np.random.default_rng(seed)
        self._ended = Event()
        self.expires_at: dict[str, int] = {}
        self.sent_at: dict[str, int] = {}
        self.engagements, self.late = 0, 0.0
        self.error: Exception | None = None
        for topic in (config.items_topic, config.engagements_topic):
            log.create_topic(topic, config.partitions, compacted=topic == config.items_topic)

    def fill(self, items: int, engagements: int) -> None:
        """Send a first catalogue without ends, and engagements with it, at once."""
        life, self._life = self._life, 0.0
        self._items(items)
        self._engagements(engagements)
        self._log.flush()
        self._life = life

    def run(self) -> None:
        """Send at the rates until `end`."""
        began, done = time.monotonic(), [0, 0]
        try:
            while not self._ended.is_set():
                elapsed = time.monotonic() - began
                for at, send in enumerate((self._items, self._engagements)):
                    due = int(self._rates[at] * elapsed) - done[at]
                    send(due)
                    done[at] += due
                self._log.flush()
                self.late = max(self.late, time.monotonic() - began - elapsed - _TICK)
                self._ended.wait(_TICK)
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Stop sending."""
        self._ended.set()
        self.join(10.0)

    def _items(self, count: int) -> None:
        now = _now()
        records = []
        for number in range(len(self.sent_at), len(self.sent_at) + count):
            name = f"i{number}"
            leaves = self._life and number % 2
            end = now + int(1000 * self._life * self._rng.uniform(0.5, 1.0)) if leaves else 0
            self.expires_at[name], self.sent_at[name] = end, now
            features = {"topic": int(self._rng.integers(_CLUSTERS)), "author": int(self._rng.integers(1000))}
            event = Item(ts=now, id=name, features={**features}, expires_at=end or None)
            records.append(ProducerRecord(name.encode(), encode(event), (), now))
        self._log.append(self._config.items_topic, records)

    def _engagements(self, count: int) -> None:
        now, known = _now(), len(self.sent_at)
        users = self._rng.integers(_USERS, size=count).tolist()
        items = (known - 1 - self._rng.integers(min(known, _RECENT), size=count)).tolist()
        records = []
        for at, (user, item) in enumerate(zip(users, items, strict=True)):
            name = f"e{self.engagements + at}"
            event = Interaction(ts=now, id=name, user=f"u{user}", item=f"i{item}", action="click")
            records.append(ProducerRecord(f"u{user}".encode(), encode(event), (), now))
        self.engagements += count
        self._log.append(self._config.engagements_topic, records)


def _now() -> int:
    return time.time_ns() // 1_000_000
