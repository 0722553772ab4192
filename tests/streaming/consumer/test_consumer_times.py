"""The consumer and event times: no timestamp, however wrong, may stop the stream, reorder it, or vanish uncounted."""

from __future__ import annotations

import itertools
import json

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.batch import Batch

T0 = 893_286_638_000
HOUR = 3_600_000
DAY = 24 * HOUR
SENT = T0 + 400 * DAY
CONFIG = StreamingConfig(log="memory", batch_size=10, max_wait=0.0)
IDS = itertools.count()


def interaction(ts: int, user: str = "u") -> bytes:
    return json.dumps(
        {"type": "interaction", "id": next(IDS), "ts": ts, "user": user, "item": "i", "action": "click"}
    ).encode()


def item(ts: int, name: str) -> bytes:
    return json.dumps({"type": "item", "id": name, "ts": ts}).encode()


def send(log: MemoryLog, topic: str, *values: bytes, partition: int | None = None, sent_at: int = SENT) -> None:
    log.create_topic(topic, 4)
    log.append(topic, [ProducerRecord(b"k", value, sent_at=sent_at, partition=partition) for value in values])


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
    times.remove(T0 + 300 * DAY)
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
    """What comes after the pause is learned at once; stream time follows once most of the users are there."""
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i, f"u{i % 10}") for i in range(50)))
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    watermarks = []
    for i in range(10):
        send(log, "engagements", interaction(T0 + 90 * DAY + i, f"u{i}"))
        (batch,) = drain(consumer)
        assert len(batch.engagements) == 1
        watermarks.append(batch.watermark)
        consumer = Consumer(log, CONFIG, state=consumer.state_dict())
    assert watermarks == [T0 + 49] * 5 + [T0 + 90 * DAY + i for i in range(5, 10)]
    assert consumer.counts.dead_lettered == 0


@pytest.mark.slow
def test_a_click_of_a_wrong_clock_is_learned_and_moves_nothing() -> None:
    log = MemoryLog()
    consumer = Consumer(log, CONFIG)
    for i in range(40):
        send(log, "engagements", interaction(T0 + i, f"u{i % 8}"))
        drain(consumer)
        send(log, "engagements", interaction(T0 + 25 * HOUR + i, "ahead"))
        drain(consumer)
    assert (consumer.counts.delivered, consumer.counts.dead_lettered) == (80, 0)
    assert consumer.state_dict()["watermark"]["value"] == T0 + 39


def test_a_small_stream_with_long_gaps_loses_nothing() -> None:
    """A hundred events a day, with ten hours of night between two days."""
    log = MemoryLog()
    times = [T0 + day * DAY + i * 504_000 for day in range(20) for i in range(100)]
    for n, ts in enumerate(times):
        send(log, "engagements", interaction(ts, f"u{n * 7 % 60}"), sent_at=ts + 500)
    consumer = Consumer(log, CONFIG)
    found = [ts for batch in drain(consumer) for ts in batch.engagements.ts.tolist()]
    assert found == times
    assert consumer.counts.dead_lettered == 0
    assert consumer.state_dict()["watermark"]["value"] == times[-1]


def test_a_partition_with_a_wrong_clock_at_its_end_is_not_starved() -> None:
    """Whoever was ahead without being contradicted must not make the partition wait until the others are there."""
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i, f"a{i}") for i in range(20)), partition=0)
    send(log, "engagements", *(interaction(T0 + i, f"b{i}") for i in range(20)), partition=1)
    send(log, "engagements", interaction(T0 + DAY, "ahead"), partition=0)
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    consumer = Consumer(log, CONFIG, state=consumer.state_dict())
    send(log, "engagements", *(interaction(T0 + 100 + 2 * i, "a") for i in range(300)), partition=0)
    send(log, "engagements", *(interaction(T0 + 101 + 2 * i, "b") for i in range(300)), partition=1)
    times = [ts for batch in drain(consumer) for ts in batch.engagements.ts.tolist()]
    assert times == [T0 + 100 + i for i in range(600)]


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


def test_no_time_of_an_item_holds_anything_back() -> None:
    """A catalogue in the order of its numbers, with dates from 1971 to 2099: there before the first event."""
    log = MemoryLog()
    log.create_topic("items", 1)
    dates = [T0 - 9000 * DAY + i * 7919 % 300 * 150 * DAY for i in range(300)]
    send(log, "engagements", *(interaction(T0 + i) for i in range(30)))
    send(log, "items", *(item(max(ts, DAY), f"sku-{i}") for i, ts in enumerate(dates)), partition=0)
    consumer = Consumer(log, CONFIG)
    batches = drain(consumer)
    assert [one.id for one in batches[0].items] == [f"sku-{i}" for i in range(300)]
    assert (consumer.counts.side_dead_lettered, consumer.counts.dead_lettered) == (0, 0)
    assert batches[-1].watermark == T0 + 29


def test_what_a_user_did_is_forgotten_after_it_was_read() -> None:
    """A deletion has its place among the events: with a fresh start, too, the user is forgotten last."""
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i) for i in range(30)))
    log.create_topic("users", 1)
    log.append("users", [ProducerRecord(b"u", None, (("ts", b"%d" % (T0 + 25)),), sent_at=SENT)])
    assert [list(batch.deleted_users) for batch in drain(Consumer(log, CONFIG))] == [[], [], ["u"]]


def test_an_old_item_is_accepted() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(T0 + i) for i in range(10)))
    send(log, "items", item(T0 - 3000 * DAY, "old"), item(0, "without age"))
    batches = drain(Consumer(log, CONFIG))
    assert sorted(str(one.id) for batch in batches for one in batch.items) == ["old", "without age"]
