"""A producer with a ledger: engagements, items and their ends, each sent until the log has acknowledged it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread

import numpy as np

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import StreamingError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.schema.events import Interaction, Item, encode

# seconds between sends, and before a refused batch is sent again
_TICK, _RETRY_SECONDS = 0.1, 0.5
# per second
ENGAGEMENTS, ITEMS = 60.0, 2.0
# items of the first catalogue, which have no end, and engagements with them
FIRST_ITEMS, FIRST_ENGAGEMENTS = 1500, 4000
# seconds from an item's announcement to its end
_LIVES = (20.0, 60.0)
# users, and topics of items: enough that the nodes of the index have something to separate
_USERS, _CLUSTERS = 2000, 32
# producers that share the users; one of them may have a wrong clock
_PRODUCERS = 8
_TOPICS = StreamingConfig()


class Traffic(Thread):
    """Sends until `end`.

    Parameters
    ----------
    open_log
        Opens the log; called again after every failure, as a producer that is started again.

    Attributes
    ----------
    acknowledged : int
        Engagements that are in the log for certain.
    sent_until : int
        Time of the last of them, epoch ms.
    ends : id -> epoch ms, 0 = never
        Of all items that were announced; written before the item is sent.
    offset : int
        Seconds by which the clock of one of the producers is ahead.
    refused : list of str
        What the log said when it did not take a batch; the last one at the end.
    """

    def __init__(self, open_log: Callable[[], EventLog], seed: int) -> None:
        super().__init__(name="traffic", daemon=True)
        self._open, self._rng = open_log, np.random.default_rng(seed)
        self._ended, self._log = Event(), open_log()
        self._lock = Lock()  # one sender at a time: this thread, or a disruption
        self.acknowledged, self.sent_until, self.offset = 0, 0, 0
        self.ends: dict[str, int] = {}
        self.refused: list[str] = []
        self.error: Exception | None = None

    def fill(self) -> None:
        """Create the topics; announce the first catalogue and engage with it, at once."""
        for topic in (_TOPICS.items_topic, _TOPICS.users_topic, _TOPICS.engagements_topic, _TOPICS.control_topic):
            self._log.create_topic(topic, 2, compacted=topic in (_TOPICS.items_topic, _TOPICS.users_topic))
        self._send(_TOPICS.items_topic, self._items(FIRST_ITEMS, ends=False))
        self._engage(FIRST_ENGAGEMENTS)

    def run(self) -> None:
        """Send at the rates until `end`; what was not sent while the log was away comes at once."""
        began, done = time.monotonic(), [0, 0]
        try:
            while not self._ended.wait(_TICK):
                elapsed = time.monotonic() - began
                due = [int(rate * elapsed) - sent for rate, sent in zip((ITEMS, ENGAGEMENTS), done, strict=True)]
                self._send(_TOPICS.items_topic, self._items(due[0], ends=True))
                self._engage(due[1])
                done = [sent + now for sent, now in zip(done, due, strict=True)]
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Stop sending, once what was begun is acknowledged."""
        self._ended.set()
        self.join(120.0)
        self._log.close()

    def send_poison(self, values: Sequence[bytes]) -> None:
        """Send hostile records among the engagements, each of which counts as one."""
        self._send(_TOPICS.engagements_topic, [ProducerRecord(b"poison", value, (), _now()) for value in values])
        with self._lock:
            self.acknowledged += len(values)

    def reopen(self) -> None:
        """Open the log anew, so that partitions that were added get their share."""
        with self._lock:
            self._log.close()
            self._log = self._open()

    def add_partition(self, add: Callable[[EventLog], None]) -> None:
        """Change the log between two sends, then send to the changed one."""
        add(self._log)
        self.reopen()

    def permanent(self) -> int:
        """Count the items that have no end."""
        return sum(not end for end in list(self.ends.values()))

    def alive(self, now: int) -> set[str]:
        """Return the items whose end has not come."""
        return {name for name, end in list(self.ends.items()) if not end or end > now}

    def _engage(self, count: int) -> None:
        if not count:
            return
        now, names = _now(), list(self.ends)
        users = self._rng.integers(_USERS, size=count)
        items = self._rng.integers(len(names), size=count)
        records = []
        for at, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
            ts = now + (1000 * self.offset if user % _PRODUCERS == 0 else 0)
            event = Interaction(
                ts=ts, id=f"e{self.acknowledged}.{at}", user=f"u{user}", item=names[item], action="click"
            )
            records.append(ProducerRecord(f"u{user}".encode(), encode(event), (), ts))
        self._send(_TOPICS.engagements_topic, records)
        with self._lock:
            self.acknowledged, self.sent_until = self.acknowledged + count, now

    def _items(self, count: int, *, ends: bool) -> list[ProducerRecord]:
        now, records = _now(), []
        for number in range(len(self.ends), len(self.ends) + count):
            name, end = f"i{number}", now + int(1000 * self._rng.uniform(*_LIVES)) if ends else 0
            self.ends[name] = end
            features = {"topic": str(self._rng.integers(_CLUSTERS))}
            event = Item(ts=now, id=name, features={**features}, expires_at=end or None)
            records.append(ProducerRecord(name.encode(), encode(event), (), now))
        return records

    def _send(self, topic: str, records: Sequence[ProducerRecord]) -> None:
        """Append until it is acknowledged; a batch that may be there already is sent again, and dropped as repeated."""
        while records:
            try:
                with self._lock:
                    self._log.append(topic, records)
                    self._log.flush()
                return
            except StreamingError as error:
                self.refused = [*self.refused[-9:], f"{error}"]
            time.sleep(_RETRY_SECONDS)
            try:
                self.reopen()
            except StreamingError as error:
                self.refused = [*self.refused[-9:], f"{error}"]


def _now() -> int:
    return time.time_ns() // 1_000_000
