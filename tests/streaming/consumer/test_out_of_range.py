"""Offsets out of range: the consumer stops with an explanation, or resets and counts; one suite for every log."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.out_of_range import RECORDS_LOST
from hsnn.streaming.errors import OutOfRangeError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.redis.entry import stream_key
from tests.waiting import DEADLINE

T0 = 1_600_000_000_000
EVENTS = 60
BATCH = 10
Place = tuple[str, int]
Remove = Callable[[Place, int], None]


@pytest.fixture
def remove(log: EventLog) -> Remove:
    """Let retention remove the records of a partition before an offset."""
    admin: Any = log

    def of_redis(place: Place, before: int) -> None:
        admin._client.execute_command("XTRIM", stream_key(*place), "MINID", f"0-{before + 1}")

    def of_kafka(place: Place, before: int) -> None:
        from kafka import TopicPartition

        admin._admin.delete_records({TopicPartition(*place): before})

    return {"MemoryLog": getattr(admin, "trim", of_redis), "RedisLog": of_redis, "KafkaLog": of_kafka}[
        type(log).__name__
    ]


@pytest.fixture
def config(log: EventLog) -> StreamingConfig:
    """Topics of this test's own; all engagements are in partition 0 of two."""
    name = uuid.uuid4().hex
    topics = {f"{kind}_topic": f"{kind}-{name}" for kind in ("engagements", "items", "users", "control")}
    config = StreamingConfig(log="given", batch_size=BATCH, partitions=2, max_wait=0.05, **topics)
    log.create_topic(config.engagements_topic, 2)
    send(log, config, 0, EVENTS)
    return config


def send(log: EventLog, config: StreamingConfig, start: int, stop: int) -> None:
    event = {"type": "interaction", "user": "u", "action": "click"}
    values = [json.dumps(event | {"id": at, "ts": T0 + at, "item": f"i{at}"}).encode() for at in range(start, stop)]
    log.append(config.engagements_topic, [ProducerRecord(b"k", value, (), T0 + 5, 0) for value in values])
    log.flush()


def policy(config: StreamingConfig, policy: str) -> StreamingConfig:
    return config.model_copy(update={"on_lost_offsets": policy})


def items(consumer: Consumer, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        batch = consumer.next_batch(DEADLINE)
        assert batch is not None
        found += [int(item[1:]) for item in batch.engagements.item]
    return found


def lost(consumer: Consumer, config: StreamingConfig) -> int:
    assert set(consumer.counts.lost) <= {config.engagements_topic}
    return sum(consumer.counts.lost.values())


@pytest.fixture
def state(log: EventLog, config: StreamingConfig) -> dict[str, Any]:
    """A checkpoint after two batches: the next event is 20."""
    consumer = Consumer(log, config)
    assert items(consumer, 2 * BATCH) == list(range(20))
    return consumer.state_dict()


def test_a_start_before_the_oldest_record_stops_and_explains(log, config, state, remove):
    topic = config.engagements_topic
    remove((topic, 0), 35)
    with pytest.raises(OutOfRangeError) as error:
        Consumer(log, config, state=state)
    said = str(error.value)
    assert said.startswith(
        f"{topic}/0: the next record to learn is 20, the log holds 35 to 59: 15 records were removed"
    )
    assert "`hsnn train --on-lost-offsets earliest` goes on at 35 and counts 15 as lost, `latest` at 60 and 40" in said


@pytest.mark.parametrize(("choice", "first", "count"), [("earliest", 35, 15), ("latest", 60, 40)])
def test_a_start_goes_on_as_decided_and_counts(log, config, state, remove, caplog, choice, first, count):
    topic = config.engagements_topic
    remove((topic, 0), 35)
    before = RECORDS_LOST.labels(topic)._value.get()
    with caplog.at_level(logging.ERROR):
        consumer = Consumer(log, policy(config, choice), state=state)
    assert lost(consumer, config) == count
    assert RECORDS_LOST.labels(topic)._value.get() == before + count
    assert f"Going on at {first}, {count} records are lost" in caplog.text
    send(log, config, EVENTS, EVENTS + 5)
    assert items(consumer, 65 - first) == list(range(first, 65))
    assert consumer.lag() == (0, 0.0)
    assert lost(Consumer(log, config, state=consumer.state_dict()), config) == count  # once


def test_a_start_beyond_the_end_stops_and_says_so(log, config, state):
    state = move(state, config, 500)
    with pytest.raises(OutOfRangeError, match=r"is 500, the log holds 0 to 59: the log was replaced, or lost its end"):
        Consumer(log, config, state=state)


@pytest.mark.parametrize(("choice", "first"), [("earliest", 20), ("latest", 60)])
def test_a_start_beyond_the_end_goes_back_as_decided(log, config, state, choice, first):
    """From the beginning on, the events that were delivered before are dropped by their ids."""
    consumer = Consumer(log, policy(config, choice), state=move(state, config, 500))
    assert lost(consumer, config) == 0
    send(log, config, EVENTS, EVENTS + 5)
    assert items(consumer, 65 - first) == list(range(first, 65))
    assert dict(consumer.state_dict()["counts"])["lost"] == {}


def move(state: dict[str, Any], config: StreamingConfig, offset: int) -> dict[str, Any]:
    places = [
        [topic, p, offset if (topic, p) == (config.engagements_topic, 0) else at, *rest]
        for topic, p, at, *rest in state["places"]
    ]
    return state | {"places": places}


def overtaken(log: EventLog, config: StreamingConfig, remove: Remove) -> Consumer:
    """A consumer that delivered 20 events and read all there were, before 200 more came and all but 10 of them went."""
    consumer = Consumer(log, config)
    assert items(consumer, EVENTS) == list(range(EVENTS))
    send(log, config, EVENTS, 260)
    remove((config.engagements_topic, 0), 250)
    return consumer


def test_retention_that_overtakes_a_running_consumer_stops_it(log, config, remove):
    consumer = overtaken(log, config, remove)
    with pytest.raises(OutOfRangeError, match=r"next record to learn is 60, the log holds 250 to 259: 190 records"):
        items(consumer, 1)


def test_retention_that_overtakes_a_running_consumer_is_counted_once(log, config, remove):
    config = policy(config, "earliest")
    consumer = overtaken(log, config, remove)
    before = consumer.state_dict()
    assert items(consumer, BATCH) == list(range(250, 260))
    assert lost(consumer, config) == 190
    assert consumer.lag() == (0, 0.0)
    again = Consumer(log, config, state=before)  # a restart from before the gap meets it again, and counts it as well
    assert items(again, BATCH) == list(range(250, 260))
    assert lost(again, config) == 190
    assert again.state_dict()["places"] == consumer.state_dict()["places"]


@pytest.mark.slow
def test_latest_in_mid_run_goes_on_with_what_comes(log, config, remove):
    config = policy(config, "latest")
    consumer = overtaken(log, config, remove)
    assert consumer.next_batch(4.0) is None
    assert lost(consumer, config) == 200
    assert consumer.lag() == (0, 0.0)
    send(log, config, 260, 265)
    assert items(consumer, 5) == list(range(260, 265))


@pytest.mark.slow  # looks twice, a second apart
def test_a_partition_of_which_nothing_is_left_is_noticed_too(log, config, remove):
    """A log that holds nothing has nothing to say; that it once held more is in its bounds."""
    consumer = Consumer(log, config)
    items(consumer, EVENTS)
    send(log, config, EVENTS, 100)
    remove((config.engagements_topic, 0), 100)
    with pytest.raises(OutOfRangeError, match=r"is 60, the log holds none, the next will be 100: 40 records"):
        consumer.next_batch(DEADLINE)


def test_records_of_other_partitions_survive_the_reset_of_one(log, config, remove):
    config = policy(config, "earliest")
    consumer = overtaken(log, config, remove)
    event = {"type": "interaction", "user": "u", "action": "click", "ts": T0 + 255, "id": "x", "item": "i999"}
    log.append(
        config.engagements_topic,
        [ProducerRecord(b"k", json.dumps(event | {"id": f"x{n}"}).encode(), (), T0, 1) for n in range(7)],
    )
    log.flush()
    assert sorted(items(consumer, 17)) == [*range(250, 260), *[999] * 7]
