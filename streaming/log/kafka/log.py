"""``kafka://``: the event log on Apache Kafka, by kafka-python.

Partitions are assigned, never subscribed: no group rebalance can move them. Offsets are committed for lag tools only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from typing import Any

import kafka.errors
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndMetadata

from hsnn.streaming.errors import AppendError, StreamingError, UnknownTopicError
from hsnn.streaming.log.base import Outgoing
from hsnn.streaming.log.kafka.errors import patiently, translated
from hsnn.streaming.log.kafka.options import client_options
from hsnn.streaming.log.kafka.reader import KafkaReader
from hsnn.streaming.log.partitioner import Partitioner
from hsnn.streaming.log.records import Position, Records
from hsnn.streaming.log.retry import Patience

_AWAY = (kafka.errors.KafkaError, OSError)
_DELIVERY_MS = 120_000
# kafka-python would let half a minute pass between two looks for a broker that was away.
_CLIENT = {"reconnect_backoff_max_ms": 1000}
_PRODUCER = {"acks": "all", "linger_ms": 5, "batch_size": 1 << 17, "max_block_ms": 30_000}


class KafkaLog:
    """An `EventLog` on Apache Kafka.

    Parameters
    ----------
    servers
        HOST:PORT of some brokers.
    patience
        For how long records wait for a broker that is away, if that is more than kafka-python's two minutes.
    options
        For kafka-python, as text; see `hsnn.streaming.log.kafka.options`.
    """

    def __init__(self, servers: list[str], patience: Patience | None = None, **options: str) -> None:
        self._patience = patience or Patience(0.0)
        self._where = "kafka://" + ",".join(servers)
        chosen = client_options(options)
        self._options = {kind: {"bootstrap_servers": servers, **_CLIENT, **some} for kind, some in chosen.items()}
        self._producer_made: Any = None
        self._counts: dict[str, int] = {}
        self._partitioner = Partitioner()
        self._failed: list[BaseException] = []
        with self._answers("connecting"):
            self._admin = KafkaAdminClient(**self._options["admin"])
        self._reader = KafkaReader(self._where, self._options["consumer"])

    def __repr__(self) -> str:
        return f"KafkaLog({self._where!r})"

    def _answers(self, doing: str) -> AbstractContextManager[None]:
        return translated(self._where, doing)

    @property
    def _producer(self) -> Any:
        if self._producer_made is None:
            with self._answers("connecting a producer"):
                self._producer_made = self._patience.call("connecting a producer", self._new_producer, _AWAY)
        return self._producer_made

    def _new_producer(self) -> Any:
        waits = max(_DELIVERY_MS, int(1000 * self._patience.seconds))
        return KafkaProducer(**{**_PRODUCER, "delivery_timeout_ms": waits, **self._options["producer"]})

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Make `topic` unless it exists, with the cluster's default number of copies."""
        if partitions < 1:
            raise ValueError(f"topic {topic!r} cannot have {partitions} partitions; give 1 or more")
        if self.partitions(topic):
            return
        facts = {"num_partitions": partitions, "configs": {"cleanup.policy": "compact"} if compacted else {}}
        with self._answers(f"creating topic {topic!r}"):
            with suppress(kafka.errors.TopicAlreadyExistsError):  # somebody else may be first
                self._admin.create_topics({topic: facts})
            self._admin.wait_for_topics([topic])

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of `topic`; empty if there is no such topic."""
        if topic not in self._counts:
            with self._answers(f"reading the partitions of topic {topic!r}"):
                found = [one for one in self._admin.describe_topics([topic]) if one.get("error_code") == 0]
            if not found:
                return []
            self._counts[topic] = len(found[0]["partitions"])
        return list(range(self._counts[topic]))

    def append(self, topic: str, records: Iterable[Outgoing]) -> int:
        """Hand records to the producer; they are in the log after `flush`."""
        count = len(self.partitions(topic))
        if not count:
            raise UnknownTopicError(f"no topic {topic!r} in {self._where}; create it first")
        send, failed = self._producer.send, self._failed.append
        now, written = time.time_ns() // 1_000_000, 0
        for record in records:
            partition = self._partitioner.choose(record, count)
            sent_at = now if record.sent_at is None else record.sent_at
            try:
                sending = send(topic, record.value, record.key, list(record.headers), partition, sent_at)
            except (kafka.errors.KafkaError, ValueError, AssertionError) as error:
                raise AppendError(f"a record of topic {topic!r} cannot be sent to {self._where}: {error}") from error
            sending.add_errback(failed)
            written += 1
        return written

    def flush(self) -> None:
        """Wait until everything appended is acknowledged by all in-sync copies.

        Raises
        ------
        AppendError
            Some records were not.
        """
        if self._producer_made is not None:
            try:
                self._producer_made.flush(timeout=max(60.0, self._patience.seconds))
            except kafka.errors.KafkaError as error:
                self._failed.append(error)
        if self._failed:
            failed, self._failed = self._failed, []
            raise AppendError(
                f"{len(failed)} records were not written to {self._where}, the first because of {failed[0]!r}; "
                "send them again once the brokers are well"
            )

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._reader.seek(positions)

    def positions(self) -> dict[Position, int]:
        """Next offset to read, per partition of the last `seek`; past gaps that hold no more records."""
        return self._reader.positions()

    def poll(self, max_records: int, timeout: float, partitions: Collection[Position] | None = None) -> list[Records]:
        """Read the next records; see `EventLog.poll`."""
        return self._reader.poll(max_records, timeout, partitions)

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Oldest offset still held, per partition."""
        return self._bounds(OffsetSpec.EARLIEST, partitions)

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Offset after the last record, per partition."""
        return self._bounds(OffsetSpec.LATEST, partitions)

    def _bounds(self, which: OffsetSpec, partitions: Iterable[Position]) -> dict[Position, int]:
        wanted = {TopicPartition(*position): which for position in partitions}
        if not wanted:
            return {}
        # The consumer's own `end_offsets` fails with a KeyError right after a topic was made.
        with self._answers("asking for the bounds of the log"):
            found = self._admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
        return {(p.topic, p.partition): int(at.offset) for p, at in found.items()}

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions as the offsets of a group without members, where Kafka's lag tools look."""
        if not positions:
            return
        offsets = {TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in positions.items()}
        with self._answers(f"committing positions of group {group!r}"):
            answer = patiently(lambda: _offsets_taken(self._admin.alter_group_offsets(group, offsets)))
        refused = {p: error for p, error in answer.items() if error is not kafka.errors.NoError}
        if refused:
            raise StreamingError(
                f"{self._where} refused positions of group {group!r}: {refused}; is a consumer of another program "
                "in this group? choose another name for `streaming.group`"
            )

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Positions last committed under a group name; partitions without one are left out."""
        wanted = [TopicPartition(*position) for position in partitions]
        with self._answers(f"reading the positions of group {group!r}"):
            found = patiently(lambda: self._admin.list_group_offsets({group: wanted}).get(group, {}))
        return {(p.topic, p.partition): int(at.offset) for p, at in found.items() if at.offset >= 0}

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        read = self.positions()
        return sum(end - read[position] for position, end in self.end_positions(read).items())

    def close(self) -> None:
        """Send what waits and give back connections."""
        if self._producer_made is not None:
            self._producer_made.close(timeout=10)
        self._reader.close()
        self._admin.close()


def _offsets_taken(answer: dict[Any, Any]) -> dict[Any, Any]:
    for error in answer.values():
        if issubclass(error, kafka.errors.RetriableError):
            raise error
    return answer
