"""Write state deltas, the item feed, snapshots, progress and alarms to Redis.

A retry may write twice: states, items, snapshots and progress are absolute, and alarms have deterministic ids, so that
all writes are idempotent. A restarted server may have lost the last writes; `RedisWriter.server_restarted` says so.
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

# Entries of the alarm stream, at least: the scheduler reads them within seconds, the rest is history.
_ALARMS_KEPT = 1000

Fields = dict[Any, Any]
"""What redis-py's stubs accept as fields: their key type is a union, and dict is invariant."""


class Encodable(Protocol):
    """A snapshot: a `hsnn.trainer.messages.Snapshot`, or an encoder of one."""

    @property
    def manifest(self) -> SnapshotManifest:
        """Manifest of the snapshot."""

    def encode(self) -> dict[bytes, bytes]:
        """Encode as fields of the Redis hash."""


class RedisWriter:
    """Write under one `epoch` at a time, with retries while the server is away.

    Attributes
    ----------
    epoch : int
        Larger than any before, even if the server has lost the last ones.
    restarted : bool
        Whether the server is another process than at the start of this epoch. It may have lost writes, and readers are
        consistent again only after a snapshot under a new epoch (`restart_epochs`).
    state_id, feed_id : str
        Ids of the last entries of the two streams; a reader of a snapshot continues after them.
    """

    def __init__(self, redis: Redis, retry_policy: RetryPolicy | None = None) -> None:
        self._redis, self._retry_policy = redis, retry_policy or RetryPolicy(0.0)
        self._bulk = bulk(redis)
        self.epoch = self._number = 0
        self.restart_epochs()

    def restart_epochs(self) -> None:
        """Begin a new epoch on the server process that runs now; a snapshot must follow."""
        self._server, self.server_restarted = (
            self._with_retries("reading its identity", lambda: identity(self._redis)),
            False,
        )
        self.epoch, self.state_id, self.feed_id = self._next(key("epoch"), self.epoch), "0-0", "0-0"

    def begin_epoch(self) -> None:
        """Begin the next epoch, because rows have been recycled; a snapshot must follow."""
        self.epoch = self._next(key("epoch"), self.epoch)

    def _next(self, counter: str, last: int) -> int:
        """Increment a counter until it is larger than `last`: the server may have lost increments."""
        number = last
        while number <= last:
            number = int(self._with_retries("incrementing a counter", lambda: self._redis.incr(counter)))
        return number

    def _with_retries(self, doing: str, call: Callable[[], Any]) -> Any:
        return self._retry_policy.call(f"Redis, {doing}", call, UNAVAILABLE_ERRORS)

    def write_state_delta(self, delta: StateDelta) -> None:
        """Append a state delta, for the mirrors."""
        fields: Fields = {b"d": delta.encode()}
        self.state_id = _text(self._with_retries("writing states", lambda: self._redis.xadd(key("state"), fields)))

    def write_feed(self, items: list[FeedItem]) -> None:
        """Append new, changed and deleted items, for the scheduler."""
        if items:
            fields: Fields = {b"d": Feed(self.epoch, items).encode()}
            self.feed_id = _text(self._with_retries("writing the feed", lambda: self._redis.xadd(key("feed"), fields)))

    def next_snapshot(self) -> int:
        """Reserve the number of the next snapshot; numbers increase over all epochs."""
        self._number = self._next(key("snapshot_number"), self._number)
        return self._number

    def write_snapshot(self, snapshot: Encodable) -> None:
        """Write a snapshot; the checkpoint that it names must be durable."""
        number = snapshot.manifest.snapshot
        fields: Fields = {**snapshot.encode()}

        def write() -> None:
            self._bulk.hset(key("snapshot", number), mapping=fields)
            self._redis.xadd(key("snapshots"), {b"n": number})  # readers see the snapshot from here on

        self._with_retries("writing a snapshot", write)

    def write_alarm(self, alarm: Alarm, snapshot: int) -> None:
        """Append an alarm, and the number of the `snapshot` taken because of it."""
        fields: Fields = {b"d": alarm.encode(), b"snapshot": snapshot}
        self._with_retries(
            "writing an alarm",
            lambda: self._redis.xadd(key("alarms"), fields, maxlen=_ALARMS_KEPT, approximate=True),
        )

    def write_progress(self, values: Mapping[str, Any]) -> None:
        """Write the progress, values as JSON, and check whether the server was restarted."""
        fields: Fields = {"epoch": self.epoch}
        for name, value in values.items():
            fields[name] = json.dumps(value)

        def write() -> str:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.info("server")
            pipeline.hset(key("progress"), mapping=fields)
            return str(pipeline.execute()[0]["run_id"])

        self.server_restarted |= self._with_retries("writing progress", write) != self._server


def _text(stream_id: Any) -> str:
    return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)
