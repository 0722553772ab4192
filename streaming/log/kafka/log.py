"""``kafka://``: the event log on Apache Kafka, with kafka-python.

Partitions are assigned, not subscribed to, so no group rebalance moves them. Offsets are committed for lag tools only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import kafka.errors
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndMetadata

from hsnn.streaming.errors import AppendError, AppendRefusedError, StreamingError, UnknownTopicError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.kafka.connect import connect_client
from hsnn.streaming.log.kafka.errors import REFUSALS, translate_errors
from hsnn.streaming.log.kafka.options import client_options
from hsnn.streaming.log.kafka.reader import KafkaReader
from hsnn.streaming.log.partitioner import Partitioner
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.retry import RetryPolicy

_UNAVAILABLE_ERRORS = (kafka.errors.KafkaError, OSError)

# Milliseconds for which the producer retries a record, kafka-python's default; a longer retry policy extends it.
_DELIVERY_MS = 120_000

# Seconds that `flush` waits at least: many times what a broker that is up needs for what is buffered.
_FLUSH_SECONDS = 60.0

# Seconds that `close` waits for records that were appended and never flushed.
_CLOSE_SECONDS = 10

# Seconds. A cluster that was never asked for group offsets first has to create the topic that holds them.
_GROUP_COORDINATOR_SECONDS = 15.0

# By default kafka-python would let half a minute pass between two attempts to reach a broker.
_CLIENT = {"reconnect_backoff_max_ms": 1000}

# Batches of up to 5 ms or 128 KiB (bytes): a fast producer sends few requests, a slow one waits too short to notice. At
# most 30 s (ms) of waiting for metadata or room in the buffer.
_PRODUCER = {"acks": "all", "linger_ms": 5, "batch_size": 1 << 17, "max_block_ms": 30_000}


class KafkaLog:
    """An `EventLog` on Apache Kafka.

    Parameters
    ----------
    servers
        HOST:PORT of some brokers.
    retry_policy
        How long records wait for a broker that is unavailable, if that is more than kafka-python's two minutes.
    options
        For kafka-python, as text; see `hsnn.streaming.log.kafka.options`.
    """

    def __init__(self, servers: list[str], retry_policy: RetryPolicy | None = None, **options: str) -> None:
        self._retry_policy = retry_policy or RetryPolicy(0.0)
        self._group_retry_policy = RetryPolicy(_GROUP_COORDINATOR_SECONDS, log_level=logging.DEBUG)
        self._group_retry_policy.start()
        self._where = "kafka://" + ",".join(servers)
        typed = client_options(options)
        self._options = {client: {"bootstrap_servers": servers, **_CLIENT, **some} for client, some in typed.items()}
        self._open_producer: Any = None
        self._partition_counts: dict[str, int] = {}
        self._partitioner = Partitioner()
        self._send_errors: list[BaseException] = []
        with self._translate_errors("connecting"):
            self._admin = connect_client(KafkaAdminClient, self._options["admin"])
        try:
            self._reader = KafkaReader(self._where, self._options["consumer"])
        except StreamingError:
            self._admin.close()
            raise

    def __repr__(self) -> str:
        return f"KafkaLog({self._where!r})"

    def _translate_errors(self, operation: str) -> AbstractContextManager[None]:
        return translate_errors(self._where, operation)

    @property
    def _producer(self) -> Any:
        """The producer, connected with the first append: most processes only read."""
        if self._open_producer is None:
            operation = "connecting a producer"
            with self._translate_errors(operation):
                self._open_producer = self._retry_policy.call(operation, self._new_producer, _UNAVAILABLE_ERRORS)
        return self._open_producer

    def _new_producer(self) -> Any:
        delivery_ms = max(_DELIVERY_MS, int(1000 * self._retry_policy.seconds))
        options = {**_PRODUCER, "delivery_timeout_ms": delivery_ms, **self._options["producer"]}
        return connect_client(KafkaProducer, options)

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Create `topic` unless it exists, with the cluster's default replication factor."""
        if partitions < 1:
            raise ValueError(f"topic {topic!r} cannot have {partitions} partitions; give 1 or more")
        if self.partitions(topic):
            return
        settings = {"num_partitions": partitions, "configs": {"cleanup.policy": "compact"} if compacted else {}}
        with self._translate_errors(f"creating topic {topic!r}"):
            with suppress(kafka.errors.TopicAlreadyExistsError):  # another process may be first
                self._admin.create_topics({topic: settings})
            self._admin.wait_for_topics([topic])

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of `topic`; empty if there is no such topic."""
        with self._translate_errors(f"reading the partitions of topic {topic!r}"):
            answers = [item for item in self._admin.describe_topics([topic]) if item.get("error_code") == 0]
        if not answers:
            return []
        count = len(answers[0]["partitions"])
        self._partition_counts.setdefault(topic, count)
        return list(range(count))

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Pass records to the producer; they are durable after `flush`."""
        # Asked for once: a key's records stay in one partition while this process appends.
        count = self._partition_counts.get(topic) or len(self.partitions(topic))
        if not count:
            raise UnknownTopicError(f"no topic {topic!r} in {self._where}; create it first")
        send, on_error = self._producer.send, self._send_errors.append
        now, appended = time.time_ns() // 1_000_000, 0
        for record in records:
            partition = self._partitioner.choose(record, count)
            sent_at = now if record.sent_at is None else record.sent_at
            try:
                future = send(
                    topic,
                    record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=partition,
                    timestamp_ms=sent_at,
                )
            except (kafka.errors.KafkaError, ValueError, AssertionError) as error:
                kind = AppendRefusedError if isinstance(error, REFUSALS) else AppendError
                raise kind(f"a record of topic {topic!r} cannot be sent to {self._where}: {error}") from error
            future.add_errback(on_error)
            appended += 1
        return appended

    def flush(self) -> None:
        """Wait until everything appended is acknowledged by all in-sync replicas.

        Raises
        ------
        AppendError
            Some records were not.
        """
        if self._open_producer is not None:
            try:
                self._open_producer.flush(timeout=max(_FLUSH_SECONDS, self._retry_policy.seconds))
            except kafka.errors.KafkaError as error:
                self._send_errors.append(error)
        if self._send_errors:
            errors, self._send_errors = self._send_errors, []
            refused = all(isinstance(error, REFUSALS) for error in errors)
            raise (AppendRefusedError if refused else AppendError)(
                f"{len(errors)} records were not written to {self._where}, the first because of {errors[0]!r}; "
                "send them again once the brokers are well"
            )

    def durability(self) -> str:
        """Say what acknowledged records survive."""
        return "acks=all: as long as one in-sync replica of the topic's min.insync.replicas survives"

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._reader.seek(positions)

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`; past gaps that hold no more records."""
        return self._reader.positions()

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`."""
        return self._reader.poll(max_records, timeout, partitions)

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the oldest offset still retained, per partition."""
        return self._bounds(OffsetSpec.EARLIEST, partitions)

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, per partition."""
        return self._bounds(OffsetSpec.LATEST, partitions)

    def high_watermarks(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, those of open transactions included, per partition."""
        return self._bounds(OffsetSpec.LATEST, partitions, IsolationLevel.READ_UNCOMMITTED)

    def _bounds(
        self,
        which: OffsetSpec,
        partitions: Iterable[Position],
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Position, int]:
        wanted = {TopicPartition(*position): which for position in partitions}
        if not wanted:
            return {}
        # The consumer's own `end_offsets` fails with a KeyError right after a topic was created.
        with self._translate_errors("reading the bounds of the log"):
            bounds = self._admin.list_partition_offsets(wanted, isolation)
        return {(p.topic, p.partition): int(bound.offset) for p, bound in bounds.items()}

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions as the offsets of a group without members, where Kafka's lag tools read them."""
        if not positions:
            return
        offsets = {TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in positions.items()}
        operation = f"committing positions of group {group!r}"

        def alter_offsets() -> dict[Any, Any]:
            return _raise_retriable(self._admin.alter_group_offsets(group, offsets))

        with self._translate_errors(operation):
            answer = self._group_retry_policy.call(operation, alter_offsets, (kafka.errors.RetriableError,))
        refused = {p: error for p, error in answer.items() if error is not kafka.errors.NoError}
        if refused:
            raise StreamingError(
                f"{self._where} refused positions of group {group!r}: {refused}; is a consumer of another program "
                "in this group? choose another name for `streaming.group`"
            )

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the positions last committed under a group name; partitions without one are left out."""
        wanted = [TopicPartition(*position) for position in partitions]
        operation = f"reading the positions of group {group!r}"

        def list_offsets() -> dict[Any, Any]:
            offsets: dict[Any, Any] = self._admin.list_group_offsets({group: wanted}).get(group, {})
            return offsets

        with self._translate_errors(operation):
            offsets = self._group_retry_policy.call(operation, list_offsets, (kafka.errors.RetriableError,))
        return {(p.topic, p.partition): int(entry.offset) for p, entry in offsets.items() if entry.offset >= 0}

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        read = self.positions()
        return sum(end - read[position] for position, end in self.end_positions(read).items())

    def close(self) -> None:
        """Send what is buffered and close the connections."""
        with ExitStack() as clients:  # each is closed even if closing another one fails
            clients.callback(self._admin.close)
            clients.callback(self._reader.close)
            if self._open_producer is not None:
                clients.callback(self._open_producer.close, timeout=_CLOSE_SECONDS)


def _raise_retriable(answer: dict[Any, Any]) -> dict[Any, Any]:
    """Raise the retriable error among the error classes per partition, if there is one."""
    for error in answer.values():
        if issubclass(error, kafka.errors.RetriableError):
            raise error
    return answer
