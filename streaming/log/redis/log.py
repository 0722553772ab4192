"""``redis://``: the event log on Redis Streams, for one machine or a small installation."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis

from hsnn.streaming.errors import AppendRefusedError, LogUnavailableError, OutOfRangeError, UnknownTopicError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import Partitioner
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.log.redis.entry import decode_entries, encode_entry, entry_offset, stream_key
from hsnn.streaming.log.redis.idempotent_append import IdempotentAppender
from hsnn.streaming.log.redis.prefetch import Prefetcher, ReadCommand
from hsnn.streaming.redis.client import UNAVAILABLE_ERRORS, connect
from hsnn.streaming.retry import RetryPolicy

# Hash of the partition counts by topic.
_TOPICS = "hsnn:log:topics"

# Records per script call: enough that the round trip hardly counts, few enough that the server, which does nothing else
# meanwhile, is busy for some milliseconds only.
_CHUNK_RECORDS = 2000

# Seconds that one blocking read waits at most, so that a restart of the server is noticed within seconds.
_MAX_BLOCK_SECONDS = 1.0

# Seconds: Redis takes whole milliseconds, and 0 would mean to block for ever.
_MIN_BLOCK_SECONDS = 0.001

# What survives, by the option `appendfsync`. An end of the server process alone loses nothing that it acknowledged.
_FSYNC = {
    "always": "appendfsync always: on disk before it is acknowledged",
    "everysec": "appendfsync everysec: an end of the Redis server loses nothing, one of its machine the last second",
    "no": "appendfsync no: an end of the Redis server loses nothing, one of its machine some 30 s",
}


class RedisLog:
    """An `EventLog` on Redis Streams.

    Parameters
    ----------
    url : redis:// or rediss://
    retention
        Keep about so many newest records per partition; None keeps all.
    retry_policy
        For how long `append` retries while the server is unavailable; some seconds without.
    """

    def __init__(
        self, url: str, *, retention: int | None = None, retry_policy: RetryPolicy | None = None, **options: Any
    ) -> None:
        # redis-py leaves `execute_command` untyped, hence Any.
        self._client: Any = connect(url, protocol=2, **options)
        # redis-py would build a dict per entry; plain lists are read four times as fast.
        self._client.set_response_callback("XREAD", lambda answer, **_: answer)
        self._prefetcher = Prefetcher(self._client)
        self._where = f"redis://{self._host()}"
        self._retry_policy = retry_policy or RetryPolicy(0.0)
        self._appender = IdempotentAppender(self._client, retention, self._retry_policy.seconds)
        self._partition_counts: dict[str, int] = {}
        self._partitioner = Partitioner()
        self._next: dict[Position, int] = {}

    def _host(self) -> str:
        options = self._client.connection_pool.connection_kwargs
        return f"{options.get('host', options.get('path', 'localhost'))}:{options.get('port', '')}".rstrip(":")

    def __repr__(self) -> str:
        return f"RedisLog({self._where!r})"

    @contextmanager
    def _translate_errors(self, operation: str) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError) as error:
            raise LogUnavailableError(
                f"{operation}: the Redis server at {self._where} does not answer ({error}); "
                "check that it runs and that `streaming.log` names it"
            ) from error

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:  # noqa: ARG002
        """Create `topic` unless it exists. Streams are not compacted: all records of a compacted topic stay."""
        if partitions < 1:
            raise ValueError(f"topic {topic!r} cannot have {partitions} partitions; give 1 or more")
        with self._translate_errors(f"creating topic {topic!r}"):
            self._client.hsetnx(_TOPICS, topic, str(partitions))

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of `topic`; empty if there is no such topic."""
        with self._translate_errors(f"reading the partitions of topic {topic!r}"):
            count = self._client.hget(_TOPICS, topic)
        if count is None:
            return []
        self._partition_counts.setdefault(topic, int(count))
        return list(range(int(count)))

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Append records in order, some thousand per round trip; they are in the log when this returns."""
        # Asked for once: a key's records stay in one partition while this process appends.
        count = self._partition_counts.get(topic) or len(self.partitions(topic))
        if not count:
            raise UnknownTopicError(f"no topic {topic!r} in {self._where}; create it first")
        keys = [stream_key(topic, partition) for partition in range(count)]
        appended = 0
        remaining = iter(records)
        while chunk := list(itertools.islice(remaining, _CHUNK_RECORDS)):
            self._append_chunk(topic, keys, chunk)
            appended += len(chunk)
        return appended

    def _append_chunk(self, topic: str, keys: list[str], chunk: list[ProducerRecord]) -> None:
        now = time.time_ns() // 1_000_000
        entries = [(self._partitioner.choose(record, len(keys)), encode_entry(record, now)) for record in chunk]
        append = self._appender.prepare(keys, entries)
        operation = f"appending to topic {topic!r}"
        try:
            with self._translate_errors(operation):
                self._retry_policy.call(operation, append, UNAVAILABLE_ERRORS)
        except redis.ResponseError as error:
            raise AppendRefusedError(
                f"the Redis server at {self._where} refused records of topic {topic!r}: {error}; "
                "if it is out of memory, raise maxmemory or give the log a retention"
            ) from error

    def flush(self) -> None:
        """Do nothing: `append` returns after the server's answer."""

    def durability(self) -> str:
        """Say what acknowledged records survive, by the server's options ``appendonly`` and ``appendfsync``."""
        try:
            with self._translate_errors("reading the server's options"):
                options = {name: self._client.config_get(name).get(name, b"") for name in ("appendonly", "appendfsync")}
        except redis.ResponseError as error:
            return f"unknown, since the server's options cannot be read ({error})"
        appendonly, fsync = (value.decode() if isinstance(value, bytes) else value for value in options.values())
        if appendonly != "yes":
            return "appendonly is off: an end of the Redis server loses what came after its last save"
        return _FSYNC.get(fsync, f"appendfsync {fsync}")

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._prefetcher.discard()
        self._next = dict(positions)

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`."""
        return dict(self._next)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`.

        Raises
        ------
        OutOfRangeError
            Retention removed records that were still to be read.
        """
        wanted = list(self._next) if partitions is None else [p for p in partitions if p in self._next]
        if not wanted:
            time.sleep(timeout)
            return []
        share = max(1, max_records // len(wanted))
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            answer = self._prefetcher.receive(self._read_command(wanted, share))
            answer = answer or self._read(wanted, share, min(left, _MAX_BLOCK_SECONDS))
            if answer or left <= _MAX_BLOCK_SECONDS:
                return self._records(answer, wanted, share)

    def _read_command(self, wanted: list[Position], share: int, *blocking: str | int) -> ReadCommand:
        keys = [stream_key(*position) for position in wanted]
        return "XREAD", "COUNT", share, *blocking, "STREAMS", *keys, *(f"0-{self._next[p]}" for p in wanted)

    def _read(self, wanted: list[Position], share: int, block: float) -> list[Any]:
        blocking = ("BLOCK", int(block * 1000)) if block >= _MIN_BLOCK_SECONDS else ()
        with self._translate_errors("reading the log"):
            return self._client.execute_command(*self._read_command(wanted, share, *blocking)) or []

    def _records(self, answer: list[Any], wanted: list[Position], share: int) -> list[RecordBatch]:
        parts = [(*self._check_retained(stream, entries, wanted), entries) for stream, entries in answer]
        self._next.update({position: first + len(entries) for position, first, entries in parts})
        if any(len(entries) == share for _, _, entries in parts):
            # There is more, and the caller decodes what came before it polls again.
            self._prefetcher.send(self._read_command(wanted, share))
        return [decode_entries(*part) for part in parts]

    def _check_retained(self, stream: bytes, entries: list[Any], wanted: list[Position]) -> tuple[Position, int]:
        """Return the partition of these entries and the first offset; raise if entries before it were removed."""
        topic, partition = next(p for p in wanted if stream_key(*p).encode() == stream)
        expected, first = self._next[topic, partition], entry_offset(entries[0][0])
        if first != expected:
            raise OutOfRangeError(
                f"{topic}/{partition} at {self._where}: the oldest record still held is {first}, wanted {expected}; "
                "records were removed before they were read: raise the log's retention"
            )
        return (topic, partition), first

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the oldest offset still retained, per partition."""
        return {p: self._bounds(p)[0] for p in partitions}

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, per partition."""
        wanted = list(partitions)
        pipe = self._client.pipeline(transaction=False)
        for position in wanted:
            pipe.xrevrange(stream_key(*position), count=1)
        with self._translate_errors("reading the end of the log"):
            answers = pipe.execute()
        return {
            position: entry_offset(answer[0][0]) + 1 if answer else self._bounds(position)[1]
            for position, answer in zip(wanted, answers, strict=True)
        }

    def _bounds(self, position: Position) -> tuple[int, int]:
        """Return begin and end of a partition whose stream may be empty or trimmed."""
        try:
            with self._translate_errors("reading the bounds of the log"):
                answer = self._client.execute_command("XINFO", "STREAM", stream_key(*position))
        except redis.ResponseError:  # no such key: nothing was ever appended
            return 0, 0
        info = dict(zip(answer[::2], answer[1::2], strict=True))
        end = entry_offset(info[b"last-generated-id"]) + 1
        first = info[b"first-entry"]
        return (entry_offset(first[0]) if first else end), end

    def high_watermarks(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the end positions: there are no transactions."""
        return self.end_positions(partitions)

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions in the hash ``hsnn:log:group:GROUP`` (field ``topic:partition``)."""
        if positions:
            with self._translate_errors(f"committing positions of group {group!r}"):
                fields = {f"{topic}:{partition}": str(offset) for (topic, partition), offset in positions.items()}
                self._client.hset(f"hsnn:log:group:{group}", mapping=fields)

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the positions last committed under a group name; partitions without one are left out."""
        wanted = list(partitions)
        if not wanted:
            return {}
        with self._translate_errors(f"reading the positions of group {group!r}"):
            offsets = self._client.hmget(f"hsnn:log:group:{group}", [f"{topic}:{number}" for topic, number in wanted])
        return {p: int(offset) for p, offset in zip(wanted, offsets, strict=True) if offset is not None}

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        return sum(end - self._next[p] for p, end in self.end_positions(self._next).items())

    def close(self) -> None:
        """Close the connections."""
        self._prefetcher.discard()
        self._client.close()
