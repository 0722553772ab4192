"""Write state deltas, the item feed, snapshots, progress and alarms to Redis.

A retry may write twice: states, items, snapshots and progress are absolute, and alarms have deterministic ids, so that
all writes are idempotent. A restarted server may have lost the last writes; `RedisWriter.server_restarted` says so.
Every write that a reader can see is fenced (`hsnn.trainer.publish.ownership`).

A server that answers and refuses (its memory is full, a right is missing, a key has another type) ends nothing: the
trainer learns on, nothing more is written under the epoch, and as soon as a write succeeds again `server_restarted`
asks for a new epoch, with everything.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.client import UNAVAILABLE_ERRORS, Redis, bulk, identity
from hsnn.streaming.redis.keys import key
from hsnn.streaming.retry import RetryPolicy
from hsnn.trainer.messages import Feed, FeedItem, StateDelta
from hsnn.trainer.metrics import REDIS_REFUSED
from hsnn.trainer.publish.ownership import Ownership
from hsnn.trainer.snapshot_chunks import (
    Writable,
    remove_snapshot,
    remove_unannounced,
    snapshots_with_chunks,
    write_snapshot,
)

_log = logging.getLogger(__name__)

# Entries of the alarm stream, at least: the scheduler reads them within seconds, the rest is history.
_ALARMS_KEPT = 1000

# Seconds after a refusal before everything is published again: doubled from the first to the second with each attempt
# in a row, since a snapshot may be too large for a server that has room for everything else.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0

# Parts of the errors of Redis, and what to do about them. redis-py removes the first word of some.
_FULL = "Redis is at maxmemory: raise it, or keep fewer versions (indexer.versions_kept)"
_RIGHT = "the Redis user lacks a right: allow it all commands on the keys hsnn:*"
_REMEDIES = {
    "maxmemory": _FULL,
    "OOM": _FULL,
    "MISCONF": "Redis cannot save to its disk: make room there",
    "NOPERM": _RIGHT,
    "permissions": _RIGHT,
    "ACL": _RIGHT,
    "WRONGTYPE": "another program has written this key: remove the key, or use a Redis of its own",
}

# Fields of the progress that tell how long the stream has been quiet.
_ARRIVAL = ("watermark", "arrived_at")

Fields = dict[Any, Any]
"""What redis-py's stubs accept as fields: their key type is a union, and dict is invariant."""


class RedisWriter:
    """Write under one `epoch` at a time, with retries while the server is away.

    Parameters
    ----------
    redis
    retry_policy
        For a server that does not answer.
    ownership
        The right to write, claimed already; None takes over from whoever has it.
    notify
        Called with what was refused and what to do about it, and with None once writes succeed again.

    Attributes
    ----------
    epoch : int
        Larger than any before, even if the server has lost the last ones.
    server_restarted : bool
        Whether readers are consistent again only after a snapshot under a new epoch (`restart_epochs`): the server is
        another process than at the start of this epoch, has lost its data, or has refused writes.
    state_id, feed_id : str
        Ids of the last entries of the two streams; a reader of a snapshot continues after them.
    """

    def __init__(
        self,
        redis: Redis,
        retry_policy: RetryPolicy | None = None,
        ownership: Ownership | None = None,
        notify: Callable[[str | None], object] = lambda text: None,  # noqa: ARG005
    ) -> None:
        self._redis, self._retry_policy = redis, retry_policy or RetryPolicy(0.0)
        self._bulk, self._notify = bulk(redis), notify
        self._refused_at: float | None = None  # monotonic; None: writes succeed
        self._pause = _FIRST_PAUSE
        self._number = 0
        self._ownership = ownership or Ownership(redis)
        if ownership is None:
            self._with_retries("starting", lambda: self._ownership.claim(take_over=True))
        self.epoch, self.state_id, self.feed_id = self._ownership.owner.token, "0-0", "0-0"
        self._server, self.server_restarted = "", False
        self._server = str(self._with_retries("reading its identity", lambda: identity(redis)))
        self._arrived = self._read_arrival()

    def _read_arrival(self) -> tuple[int, int]:
        """Read the watermark of the last event, and when it arrived, as the trainer before noted them."""
        values: Any = self._with_retries("reading progress", lambda: self._redis.hmget(key("progress"), _ARRIVAL))
        watermark, arrived_at = (int(value or 0) for value in values)
        return watermark, arrived_at

    def restart_epochs(self) -> None:
        """Begin a new epoch on the server process that runs now; a snapshot must follow."""
        if self.refused:  # doubled by each attempt, and not by the progress that is refused until then
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._server, self.server_restarted, self._refused_at = self._identity(), False, None
        self.begin_epoch()
        self.state_id, self.feed_id = "0-0", "0-0"

    def begin_epoch(self) -> None:
        """Begin the next epoch, because rows have been recycled; a snapshot must follow."""
        self.epoch = self._next(key("epoch"), self.epoch)

    def _identity(self) -> str:
        """Name the server process; where that is refused, as before."""
        answer = self._write("reading its identity", lambda: identity(self._redis))
        return self._server if answer is None else str(answer)

    def _next(self, counter: str, last: int) -> int:
        """Increment a counter until it is larger than `last`: the server may have lost increments.

        Where that is refused, the number is counted here; the counter catches up with the first increment that is not.
        """
        number = last
        while number <= last:
            answer = self._write("incrementing a counter", lambda: self._fenced("INCR", counter))
            number = last + 1 if answer is None else int(answer)
        return number

    def _with_retries(self, doing: str, call: Callable[[], Any]) -> Any:
        return self._retry_policy.call(f"Redis, {doing}", call, UNAVAILABLE_ERRORS)

    def _fenced(self, command: str, name: str, *arguments: Any) -> Any:
        """Call a command as the owner; on a server that has lost its data, become the owner again first."""
        try:
            return self._ownership.write(command, name, *arguments)
        except LookupError as error:
            _log.warning("Redis has lost its data (%s); everything is published again", error)
            self._ownership.claim(take_over=True, last_epoch=self.epoch)
            self.server_restarted = True
            return self._ownership.write(command, name, *arguments)

    def _write(self, doing: str, call: Callable[[], Any]) -> Any:
        """Return the answer of a write, or of a read that belongs to one; None if it is refused."""
        try:
            return self._with_retries(doing, call)
        except UNAVAILABLE_ERRORS:
            raise
        except ResponseError as error:
            self._note_refusal(doing, error)
            return None

    def _note_refusal(self, doing: str, error: ResponseError) -> None:
        remedy = next((remedy for part, remedy in _REMEDIES.items() if part in str(error)), "see the log of Redis")
        text = f"Redis refuses {doing}: {error}; {remedy}"
        REDIS_REFUSED.labels(doing).inc()
        if self._refused_at is None:
            _log.error("%s. Training goes on; everything is published again once Redis accepts it", text)
        self._refused_at = time.monotonic()
        self._notify(text)

    @property
    def refused(self) -> bool:
        """Whether the server refused a write of this epoch; nothing but progress is written until the next one."""
        return self._refused_at is not None

    def write_state_delta(self, delta: StateDelta) -> None:
        """Append a state delta, for the mirrors."""
        self.state_id = self._append("writing states", key("state"), delta.encode, self.state_id)

    def write_feed(self, items: list[FeedItem]) -> None:
        """Append new, changed and deleted items, for the scheduler."""
        if items:
            self.feed_id = self._append("writing the feed", key("feed"), Feed(self.epoch, items).encode, self.feed_id)

    def _append(self, doing: str, stream: str, encode: Callable[[], bytes], last: str) -> str:
        """Append an entry; return its id, or `last` if it was refused."""
        if self.refused:
            return last
        entry = ("*", b"d", encode())
        answer = self._write(doing, lambda: self._fenced("XADD", stream, *entry))
        return last if answer is None else _text(answer)

    def next_snapshot(self) -> int:
        """Reserve the number of the next snapshot; numbers increase over all epochs, and no chunk is written twice."""
        known = self._write("reading the snapshots", lambda: snapshots_with_chunks(self._redis)) or ()
        self._number = self._next(key("snapshot_number"), max([self._number, *known]))
        return self._number

    def write_snapshot(self, snapshot: Writable) -> bool:
        """Write a snapshot, and return whether Redis took it; the checkpoint that it names must be durable."""
        if self.refused:
            return False
        number = snapshot.manifest.snapshot

        def write() -> bool:
            remove_unannounced(self._redis, number)  # of trainers that ended, or of the attempt before
            write_snapshot(self._bulk, snapshot)
            self._fenced("XADD", key("snapshots"), *("*", b"n", number))  # readers see the snapshot from here on
            return True

        if self._write("writing a snapshot", write):
            self._pause = _FIRST_PAUSE
            return True
        with suppress(RedisError):
            remove_snapshot(self._redis, number)  # half of it may be there
        return False

    def write_alarm(self, alarm: Alarm, snapshot: int) -> None:
        """Append an alarm, and the number of the `snapshot` taken because of it."""
        arguments = ("MAXLEN", "~", _ALARMS_KEPT, "*", b"d", alarm.encode(), b"snapshot", snapshot)
        self._write("writing an alarm", lambda: self._fenced("XADD", key("alarms"), *arguments))

    def write_progress(self, values: Mapping[str, Any]) -> None:
        """Write the progress, values as JSON, and check whether the server was restarted.

        When the watermark moved last is noted beside it, by the clock of Redis, for readers to tell how long the stream
        has been quiet. Nothing that is learned depends on it.
        """
        fields: Fields = {"epoch": self.epoch}
        if "watermark" in values and values["watermark"] != self._arrived[0]:
            answer = self._write("asking for its time", self._redis.time)
            if answer is None:
                return
            self._arrived = values["watermark"], 1000 * answer[0] + answer[1] // 1000
        fields["arrived_at"] = self._arrived[1]
        for name, value in values.items():
            fields[name] = json.dumps(value)
        flat = [part for field in fields.items() for part in field]
        answer = self._write("writing progress", lambda: self._fenced("HSET", key("progress"), *flat))
        if answer is None:
            return
        self.server_restarted |= self._identity() != self._server
        if self._refused_at is not None and time.monotonic() - self._refused_at >= self._pause:
            self._notify(None)
            self.server_restarted = True


def _text(stream_id: Any) -> str:
    return stream_id.decode() if isinstance(stream_id, bytes) else str(stream_id)
