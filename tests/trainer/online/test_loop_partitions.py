"""What the loop finds when it looks at the partitions of its topics: added ones, and records that nobody can read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.memory import MemoryLog
from hsnn.trainer.metrics import UNCOMMITTED_RECORDS
from hsnn.trainer.online.loop import OnlineLoop

CONFIG = StreamingConfig(log="memory", batch_size=10, max_wait=0.0)


class LogWithTransaction(MemoryLog):
    """Holds five records of a transaction that is open, at the end of each partition of engagements."""

    def high_watermarks(self, partitions: Any) -> dict[Any, int]:
        return {place: end + 5 * (place[0] == "engagements") for place, end in self.end_positions(partitions).items()}


def look(consumer: Consumer, world: object | None) -> None:
    """Let a loop with this consumer look at the partitions."""
    OnlineLoop.join_added_partitions(cast(OnlineLoop, SimpleNamespace(consumer=consumer, _world=world)))


def test_records_behind_an_open_transaction_are_shown() -> None:
    log = LogWithTransaction()
    log.create_topic("engagements", 2)
    consumer = Consumer(log, CONFIG)
    look(consumer, None)
    assert UNCOMMITTED_RECORDS._value.get() == 10
    consumer.close()


def test_several_workers_start_again() -> None:
    log = MemoryLog()
    log.create_topic("engagements", 1)
    consumer = Consumer(log, CONFIG)
    log._topics["engagements"].append([])  # the topic has another partition
    with pytest.raises(StateError, match=r"partitions were added \(engagements/1\); all workers start again"):
        look(consumer, object())
    consumer.close()
