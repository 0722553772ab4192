"""The consumer and event times: no timestamp, however wrong, may stop the stream, reorder it, or vanish uncounted."""

from __future__ import annotations

import itertools
import json

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.watermark import QUORUM
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.batch import Batch

T0 = 893_286_638_000
DAY = 86_400_000
CONFIG = StreamingConfig(log="memory", batch_size=10, max_wait=0.0)
IDS = itertools.count()


def interaction(ts: int) -> bytes:
    return json.dumps(
        {"type": "interaction", "id": next(IDS), "ts": ts, "user": "u", "item": "i", "action": "click"}
    ).encode()


def item(ts: int, name: str) -> bytes:
    return json.dumps({"type": "item", "id": name, "ts": ts}).encode()


def send(log: MemoryLog, topic: str, *values: bytes, partition: int | None = None) -> None:
    log.create_topic(topic, 4)
    log.append(topic, [ProducerRecord(b"k", value, sent_at=T0 + 5, partition=partition) for value in values])


def drain(consumer: Consumer) -> list[Batch]:
    batches: list[Batch] = []
    while (batch := consumer.next_batch(0.02)) is not None:
        batches.append(batch)
    return batches


def reasons(log: MemoryLog) -> list[str]:
    topic = "engagements.dlq"
    places = [(topic, partition) for partition in log.partitions(topic)]
    view = MemoryLog()
    view._topics = log._topics
    view.seek(dict.fromkeys(places, 0))
    return [dict(record.headers)["hsnn-reason"].decode() for records in view.poll(10_000, 0.0) for record in records]


def test_one_timestamp_in_the_future_becomes_a_dead_letter() -> None:
    log = MemoryLog()
    times = [T0 + i for i in range(100)]
    times.insert(50, 4_000_000_000_000)
    send(log, "engagements", *map(interaction, times))
    batches = drain(Consumer(log, CONFIG))
    assert [ts for batch in batches for ts in batch.engagements.ts.tolist()] == [T0 + i for i in range(100)]
    assert batches[-1].watermark == T0 + 99
    assert reasons(log) == ["far_future"]
    assert [batch.dead_lettered for batch in batches] == [0] * 5 + [1] + [0] * 4


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("together", [True, False])
def test_timestamps_in_the_future_that_come_first_do_not_poison_the_stream(count: int, together: bool) -> None:
    log = MemoryLog()
    send(log, "engagements", *[interaction(4_000_000_000_000)] * count)
    consumer = Consumer(log, CONFIG)
    if not together:
        assert sum(batch.dead_lettered for batch in drain(consumer)) == count
    send(log, "engagements", *(interaction(T0 + i) for i in range(100)))
    assert sum(len(batch.engagements) for batch in drain(consumer)) == 100
    assert consumer.counts.dead_lettered == count
    assert set(reasons(log)) == {"far_future"}


def test_a_bad_timestamp_in_one_partition_holds_back_no_other() -> None:
    """The partition goes on in its place: it does not wait at the timestamp until the others are through."""
    log = MemoryLog()
    for partition in range(4):
        times = [T0 + 4 * i + partition for i in range(300)]
        if partition == 1:
            times.insert(100, T0 + 300 * DAY)
        send(log, "engagements", *map(interaction, times), partition=partition)
    batches = drain(Consumer(log, CONFIG))
    times = [ts for batch in batches for ts in batch.engagements.ts.tolist()]
    assert times == [T0 + i for i in range(1200)]


def test_too_old_is_rejected_and_late_is_not() -> None:
    log = MemoryLog()
    times = [T0, T0 - 364 * DAY, T0 - 366 * DAY, 5_000, T0 + 1]
    send(log, "engagements", *map(interaction, times))
    consumer = Consumer(log, CONFIG, watermark=T0)
    (batch,) = drain(consumer)
    assert batch.engagements.ts.tolist() == [T0, T0 - 364 * DAY, T0 + 1]
    assert reasons(log) == ["far_past", "far_past"]


def test_a_stream_that_was_paused_for_long_goes_on() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i) for i in range(50)))
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    later = T0 + 90 * DAY
    for i in range(QUORUM - 1):
        send(log, "engagements", interaction(later + i))
        assert [len(batch.engagements) for batch in drain(consumer)] == [0]
    consumer = Consumer(log, CONFIG, state=consumer.state_dict())
    send(log, "engagements", interaction(later + 1000), interaction(later + 1001))
    assert [batch.engagements.ts.tolist() for batch in drain(consumer)] == [[later + 1000, later + 1001]]
    assert consumer.counts.dead_lettered == QUORUM - 1


def test_a_rejection_at_the_end_of_a_batch_is_part_of_the_state() -> None:
    """Also where the partition had rejections before the batch, and the batch has an accepted event of it."""
    log = MemoryLog()
    consumer = Consumer(log, CONFIG)
    for i in range(2):
        send(log, "engagements", interaction(T0 + i), interaction(T0 + 90 * DAY))
        drain(consumer)
        counts = [rejections for *_, rejections, _, _ in consumer.state_dict()["places"]]
        assert sorted(counts)[-2:] == [0, 1]


@pytest.mark.slow
def test_outliers_do_not_add_up_to_a_jump() -> None:
    log = MemoryLog()
    consumer = Consumer(log, CONFIG)
    for i in range(QUORUM + 5):
        send(log, "engagements", interaction(T0 + i))
        drain(consumer)
        send(log, "engagements", interaction(T0 + 90 * DAY))
        drain(consumer)
    assert consumer.counts.delivered == consumer.counts.dead_lettered == QUORUM + 5


def test_a_pause_inside_the_log_costs_nothing() -> None:
    log = MemoryLog()
    times = [T0 + i for i in range(200)] + [T0 + 90 * DAY + i for i in range(200)]
    send(log, "engagements", *map(interaction, times))
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    assert (consumer.counts.delivered, consumer.counts.dead_lettered) == (400, 0)


def test_a_quiet_partition_may_skip_months() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i * DAY) for i in range(100)), partition=0)
    send(log, "engagements", interaction(T0), interaction(T0 + 60 * DAY), interaction(T0 + 99 * DAY), partition=1)
    consumer = Consumer(log, CONFIG)
    times = [ts for batch in drain(consumer) for ts in batch.engagements.ts.tolist()]
    assert times == sorted(times)
    assert (len(times), consumer.counts.dead_lettered) == (103, 0)


def test_an_item_from_the_far_future_is_rejected_and_its_partition_goes_on() -> None:
    log = MemoryLog()
    log.create_topic("items", 1)
    send(log, "engagements", *(interaction(T0 + i) for i in range(30)))
    send(log, "items", item(T0, "a"), item(T0 + 900 * DAY, "bad"), item(T0 + 5, "b"), item(T0 + 6, "c"), partition=0)
    send(log, "items", item(T0 + 900 * DAY, "bad at the end"), partition=0)
    consumer = Consumer(log, CONFIG)
    batches = drain(consumer)
    assert [one.id for one in batches[0].items] == ["a", "b", "c"]
    assert sum(len(batch.items) for batch in batches) == 3
    assert (consumer.counts.side_dead_lettered, consumer.counts.dead_lettered) == (2, 0)


def test_an_old_item_is_accepted() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i) for i in range(10)))
    send(log, "items", item(T0 - 3000 * DAY, "old"), item(0, "without age"))
    batches = drain(Consumer(log, CONFIG))
    assert sorted(str(one.id) for batch in batches for one in batch.items) == ["old", "without age"]
