"""What the trainer writes to Redis: states, the item feed, snapshots, progress, alarms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from monitoring.alarms import Alarm
from streaming.keys import key
from streaming.redis_client import Redis
from trainer.wire import Feed, FeedItem, Snapshot, StateDelta

_ALARMS_KEPT = 1000

Fields = dict[Any, Any]
"""What redis-py's stubs accept as fields: their key type is a union, and dict is invariant."""


class Outbox:
    """Writes under one `epoch`, this incarnation of the trainer.

    Attributes
    ----------
    epoch : int
    state_id, feed_id : str
        The last entries written to the two streams; a reader of a snapshot goes on after them.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.epoch = int(redis.incr(key("epoch")))
        self.state_id = self.feed_id = "0-0"

    def state(self, delta: StateDelta) -> None:
        """Tell the mirrors of touched states."""
        self.state_id = _text(self._redis.xadd(key("state"), {b"d": delta.encode()}))

    def feed(self, items: list[FeedItem]) -> None:
        """Tell the scheduler of new, changed and deleted items."""
        if items:
            self.feed_id = _text(self._redis.xadd(key("feed"), {b"d": Feed(self.epoch, items).encode()}))

    def next_snapshot(self) -> int:
        """Take the next snapshot's number; numbers grow over all incarnations."""
        return int(self._redis.incr(key("snapshot_number")))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Hand a snapshot out; the checkpoint that it names must be durable already."""
        number = snapshot.manifest.snapshot
        fields: Fields = {**snapshot.encode()}
        self._redis.hset(key("snapshot", number), mapping=fields)
        self._redis.xadd(key("snapshots"), {b"n": number})  # nobody looks at it before

    def alarm(self, alarm: Alarm, snapshot: int) -> None:
        """Raise an alarm, answered best with the `snapshot` taken because of it."""
        fields: Fields = {b"d": alarm.encode(), b"snapshot": snapshot}
        self._redis.xadd(key("alarms"), fields, maxlen=_ALARMS_KEPT, approximate=True)

    def progress(self, values: Mapping[str, Any]) -> None:
        """Note how far training is; anything but numbers and texts is written as JSON."""
        fields: Fields = {"epoch": self.epoch}
        for name, value in values.items():
            fields[name] = value if isinstance(value, int | float | str) else json.dumps(value)
        self._redis.hset(key("progress"), mapping=fields)


def _text(stream_id: Any) -> str:
    return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)
