"""What the trainer writes to Redis: states, the item feed, snapshots, progress, alarms.

Every write may come twice (an answer was lost, it was tried again): states, items, snapshots and progress are absolute,
an alarm is known by its id. A server that comes back may have lost what it was told last; `restarted` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.client import UNAVAILABLE_ERRORS, Redis, bulk, identity
from hsnn.streaming.redis.keys import key
from hsnn.streaming.retry import RetryPolicy
from hsnn.trainer.messages import Feed, FeedItem, SnapshotManifest, StateDelta

_ALARMS_KEPT = 1000

Fields = dict[Any, Any]
"""What redis-py's stubs accept as fields: their key type is a union, and dict is invariant."""


class Encodable(Protocol):
    """A snapshot, as a `hsnn.trainer.messages.Snapshot` or as what can be encoded like one."""

    @property
    def manifest(self) -> SnapshotManifest:
        """What it is made of."""

    def encode(self) -> dict[bytes, bytes]:
        """Fields of the Redis hash."""


class RedisWriter:
    """Writes under one `epoch` at a time; waits for a server that is away.

    Attributes
    ----------
    epoch : int
        Larger than any before, also after the server forgot the last ones.
    restarted : bool
        Whether the server is another process than the one this epoch began with: what it was told may be lost, and only
        a snapshot under a new epoch (`renew`) sets all readers right.
    state_id, feed_id : str
        The last entries written to the two streams; a reader of a snapshot goes on after them.
    """

    def __init__(self, redis: Redis, retry_policy: RetryPolicy | None = None) -> None:
        self._redis, self._retry_policy = redis, retry_policy or RetryPolicy(0.0)
        self._bulk = bulk(redis)
        self.epoch = self._number = 0
        self.restart_epochs()

    def restart_epochs(self) -> None:
        """Begin a new epoch; a snapshot must follow."""
        self._server, self.server_restarted = self._called("asking who it is", lambda: identity(self._redis)), False
        self.epoch, self.state_id, self.feed_id = self._next(key("epoch"), self.epoch), "0-0", "0-0"

    def begin_epoch(self) -> None:
        """Write under the next epoch from now on: rows mean other items. A snapshot must follow."""
        self.epoch = self._next(key("epoch"), self.epoch)

    def _next(self, counter: str, last: int) -> int:
        """Count on until the number is larger than `last`: a server may have forgotten some."""
        number = last
        while number <= last:
            number = int(self._called("taking a number", lambda: self._redis.incr(counter)))
        return number

    def _called(self, doing: str, call: Callable[[], Any]) -> Any:
        return self._retry_policy.call(f"Redis, {doing}", call, UNAVAILABLE_ERRORS)

    def write_state_delta(self, delta: StateDelta) -> None:
        """Tell the mirrors of touched states."""
        fields: Fields = {b"d": delta.encode()}
        self.state_id = _text(self._called("telling states", lambda: self._redis.xadd(key("state"), fields)))

    def write_feed(self, items: list[FeedItem]) -> None:
        """Tell the scheduler of new, changed and deleted items."""
        if items:
            fields: Fields = {b"d": Feed(self.epoch, items).encode()}
            self.feed_id = _text(self._called("telling items", lambda: self._redis.xadd(key("feed"), fields)))

    def next_snapshot(self) -> int:
        """Take the next snapshot's number; numbers grow over all incarnations."""
        self._number = self._next(key("snapshot_number"), self._number)
        return self._number

    def write_snapshot(self, snapshot: Encodable) -> None:
        """Hand a snapshot out; the checkpoint that it names must be durable already."""
        number = snapshot.manifest.snapshot
        fields: Fields = {**snapshot.encode()}

        def write() -> None:
            self._bulk.hset(key("snapshot", number), mapping=fields)
            self._redis.xadd(key("snapshots"), {b"n": number})  # nobody looks at it before

        self._called("handing out a snapshot", write)

    def write_alarm(self, alarm: Alarm, snapshot: int) -> None:
        """Raise an alarm, answered best with the `snapshot` taken because of it."""
        fields: Fields = {b"d": alarm.encode(), b"snapshot": snapshot}
        self._called(
            "raising an alarm",
            lambda: self._redis.xadd(key("alarms"), fields, maxlen=_ALARMS_KEPT, approximate=True),
        )

    def write_progress(self, values: Mapping[str, Any]) -> None:
        """Note how far training is, and look who the server is; values are written as JSON."""
        fields: Fields = {"epoch": self.epoch}
        for name, value in values.items():
            fields[name] = json.dumps(value)

        def write() -> str:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.info("server")
            pipeline.hset(key("progress"), mapping=fields)
            return str(pipeline.execute()[0]["run_id"])

        self.server_restarted |= self._called("noting progress", write) != self._server


def _text(stream_id: Any) -> str:
    return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)
