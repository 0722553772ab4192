"""A crash between a dead letter and the checkpoint behind it: the letter is written once, in every log."""

from __future__ import annotations

import json
import uuid
from collections import Counter

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.dead_letters.reader import read_dead_letters
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.schema.arrow import write_interactions
from tests.waiting import DEADLINE

T0 = 1_600_000_000_000
LETTERS = 4 * 37 + 2


@pytest.fixture
def config(log: EventLog) -> StreamingConfig:
    """Create and fill topics for this test: four partitions, every fourth record is malformed, and one is Arrow."""
    name = uuid.uuid4().hex
    topics = {f"{kind}_topic": f"{kind}-{name}" for kind in ("engagements", "items", "users", "control")}
    config = StreamingConfig(log="given", batch_size=32, max_wait=0.05, **topics)
    log.create_topic(config.engagements_topic, 4)
    for at in range(4 * 37):
        event = {"type": "interaction", "id": at, "ts": T0 + at, "user": "u", "item": f"i{at}", "action": "click"}
        values = [json.dumps(event | {"id": f"{at}-{n}"}).encode() for n in range(3)] + [b"{broken %d" % at]
        log.append(
            config.engagements_topic, [ProducerRecord(b"k", value, (("a", b"b"),), T0, at % 4) for value in values]
        )
    table = write_interactions([T0 + 200, T0 + 201, T0 + 202], ["u", "", "u"], ["a", "b", ""], ["click"] * 3)
    log.append(config.engagements_topic, [ProducerRecord(b"k", table, (), T0, 2)])
    log.flush()
    return config


def places(log: EventLog, config: StreamingConfig) -> Counter[tuple[int, int, int]]:
    topic = config.engagements_topic
    return Counter((one.partition, one.offset, one.index) for one in read_dead_letters(log, [topic]) if not one.foreign)


def read(consumer: Consumer, letters_at_least: int) -> None:
    while consumer.counts.dead_lettered < letters_at_least:
        assert consumer.next_batch(DEADLINE) is not None


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [[1], [60, 20, 100], [LETTERS, LETTERS]])
def test_each_letter_is_written_once(log: EventLog, config: StreamingConfig, deaths: list[int]) -> None:
    """Consumers stop after so many letters without a checkpoint; each resumes where the previous one started."""
    start = Consumer(log, config).state_dict()
    for death in deaths:
        read(Consumer(log, config, state=start), death)
        log.flush()  # what was handed to a client arrives, though nobody noted how far the consumer was
    last = Consumer(log, config, state=start)
    read(last, LETTERS)
    last.state_dict()
    found = places(log, config)
    assert len(found) == LETTERS
    assert set(found.values()) == {1}


def test_letters_have_original_source_and_reason(log: EventLog, config: StreamingConfig) -> None:
    consumer = Consumer(log, config)
    read(consumer, LETTERS)
    consumer.state_dict()
    broken = [one for one in read_dead_letters(log, [config.engagements_topic]) if one.reason == "malformed"]
    assert len(broken) == 4 * 37
    for one in broken:
        assert (one.record.key, one.headers, one.topic) == (b"k", (("a", b"b"),), config.engagements_topic)
        at = int((one.record.value or b"").removeprefix(b"{broken "))
        assert (one.partition, one.offset) == (at % 4, at // 4 * 4 + 3)
        assert one.detail
