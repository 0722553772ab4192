"""Replay of dead letters: the original is sent once, and every letter is accounted for."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.dead_letters import replay as replay_module
from hsnn.streaming.dead_letters.reader import DeadLetterFilter, read_dead_letters
from hsnn.streaming.dead_letters.replay import ReplayReport, SkipReason, read_replayed, replay
from hsnn.streaming.dead_letters.writer import DeadLetter, DeadLetterWriter
from hsnn.streaming.errors import AppendError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Record
from hsnn.streaming.log.scan import read_topic
from hsnn.streaming.schema.events import Interaction, encode
from tests.waiting import DEADLINE

NOW = 1_700_000_000_000


@pytest.fixture
def topic(log: EventLog) -> str:
    """A topic of four partitions with dead letters from three of them."""
    name = f"t-{uuid.uuid4().hex}"
    log.create_topic(name, 4)
    write(log, [dead(name, at, "invalid" if at % 2 else "malformed", at % 3) for at in range(10)])
    return name


def dead(
    topic: str, offset: int, reason: str = "invalid", partition: int = 0, value: bytes | None = None
) -> DeadLetter:
    value = b"v%d\xff" % offset if value is None else value
    headers = (("trace", b"\x00%d" % offset), ("trace", b"twice"), ("hsnn-of-old", b"x"))
    return DeadLetter(Record(topic, partition, offset, b"k%d" % offset, value, headers, 5), 0, reason, "why")


def write(log: EventLog, found: list[DeadLetter]) -> None:
    writer = DeadLetterWriter(log)
    writer.write(found)
    writer.flush()


def sent(log: EventLog, topic: str) -> list[Record]:
    return sorted(read_topic(log, topic), key=lambda record: record.key or b"")


def test_original_is_sent_once(log: EventLog, topic: str) -> None:
    account = replay(log, [topic], DeadLetterFilter())
    assert account == ReplayReport(10, {topic: 10}, {})
    found = sent(log, topic)
    assert [record.key for record in found] == [b"k%d" % at for at in range(10)]
    assert [record.value for record in found] == [b"v%d\xff" % at for at in range(10)]
    assert [record.headers for record in found] == [
        (("trace", b"\x00%d" % at), ("trace", b"twice")) for at in range(10)
    ]
    assert [record.partition for record in found] == [at % 3 for at in range(10)]  # where they were
    again = replay(log, [topic], DeadLetterFilter())
    assert again == ReplayReport(10, {}, {SkipReason.ALREADY_REPLAYED: 10})
    assert len(sent(log, topic)) == 10


def test_dry_run_writes_nothing_and_counts_the_same(log: EventLog, topic: str) -> None:
    would = replay(log, [topic], DeadLetterFilter(reason="invalid"), dry_run=True)
    assert sent(log, topic) == []
    assert log.partitions(topic + ".dlq.replayed") == []
    assert (
        would
        == replay(log, [topic], DeadLetterFilter(reason="invalid"))
        == ReplayReport(10, {topic: 5}, {SkipReason.NOT_WANTED: 5})
    )


def test_filtered_replays_add_up(log: EventLog, topic: str) -> None:
    parts = [
        replay(log, [topic], wanted)
        for wanted in (
            DeadLetterFilter(partition=1),
            DeadLetterFilter(partition=2, offset=5),
            DeadLetterFilter(reason="malformed"),
            DeadLetterFilter(),
        )
    ]
    assert [account.replayed.total() for account in parts] == [3, 1, 4, 2]
    assert all(account.balanced and account.read == 10 for account in parts)
    assert len({record.key for record in sent(log, topic)}) == len(sent(log, topic)) == 10
    assert len(read_replayed(log, [topic])) == 10


def test_letters_that_cannot_be_sent_are_counted(log: EventLog, topic: str) -> None:
    write(log, [dead(topic, 20, value=b"x" * 1_000_001)])
    log.append(topic + ".dlq", [ProducerRecord(b"k", b"a stranger")])
    log.flush()
    account = replay(log, [topic], DeadLetterFilter())
    assert account == ReplayReport(12, {topic: 10}, {SkipReason.TRUNCATED: 1, SkipReason.FOREIGN: 1})
    assert (account.not_replayable, account.balanced) == (2, True)
    assert replay(log, [topic], DeadLetterFilter(reason="malformed")).not_replayable == 0  # nobody asked for them


def test_duplicate_letter_is_sent_once(log: EventLog, topic: str) -> None:
    first = next(iter(read_dead_letters(log, [topic])))
    copy = first.record
    log.append(copy.topic, [ProducerRecord(copy.key, copy.value, copy.headers)])
    log.flush()
    assert replay(log, [topic], DeadLetterFilter()) == ReplayReport(11, {topic: 10}, {SkipReason.ALREADY_REPLAYED: 1})


def test_topic_with_fewer_partitions_gets_letters_by_key(log: EventLog) -> None:
    name = f"t-{uuid.uuid4().hex}"
    log.create_topic(name, 1)
    write(log, [dead(name, 3, partition=7)])
    assert replay(log, [name], DeadLetterFilter()).replayed[name] == 1
    assert [record.partition for record in sent(log, name)] == [0]


def test_several_chunks(log: EventLog, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "CHUNK", 3)
    assert replay(log, [topic], DeadLetterFilter()).replayed[topic] == 10
    assert len(read_replayed(log, [topic])) == len(sent(log, topic)) == 10


def test_interrupted_run_repeats_one_chunk_at_most(topic: str, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events were durable, the records of their replay were not."""
    monkeypatch.setattr(replay_module, "CHUNK", 3)
    real, calls = log.append, []

    def append(to: str, records: Any) -> int:
        calls.append(to)
        if len(calls) == 4:  # the marks of the second chunk
            raise AppendError("out of memory")
        return real(to, records)

    monkeypatch.setattr(log, "append", append)
    with pytest.raises(AppendError):
        replay(log, [topic], DeadLetterFilter())
    monkeypatch.setattr(log, "append", real)
    assert replay(log, [topic], DeadLetterFilter()) == ReplayReport(10, {topic: 7}, {SkipReason.ALREADY_REPLAYED: 3})
    found = [record.key for record in sent(log, topic)]
    assert (len(found), len(set(found))) == (13, 10)


def test_foreign_records_among_the_replay_records_are_ignored(log: EventLog, topic: str) -> None:
    log.create_topic(topic + ".dlq.replayed", 2, compacted=True)
    log.append(topic + ".dlq.replayed", [ProducerRecord(b"\xff", b"x"), ProducerRecord(b"engagements", b"x")])
    log.flush()
    assert replay(log, [topic], DeadLetterFilter()).replayed[topic] == 10
    assert len(everything_of(log, topic + ".dlq.replayed")) == 12


def everything_of(log: EventLog, topic: str) -> list[Record]:
    return list(read_topic(log, topic))


def test_letter_that_fails_again_is_a_new_one_at_its_new_position() -> None:
    """A consumer with wider limits reads some of the events; the others become dead letters again."""
    log, narrow = MemoryLog(), StreamingConfig(partitions=1, max_wait=0.001, max_past=3600, batch_size=10)
    log.create_topic("engagements", 1)
    good = [Interaction(id=at, ts=NOW + at, user="u", item="a", action="click") for at in range(3)]
    old = Interaction(id=9, ts=NOW - 7_200_000, user="u", item="a", action="click")
    values = [encode(good[0]), b"{broken", encode(good[1]), encode(old), encode(good[2])]
    log.append("engagements", [ProducerRecord(b"u", value) for value in values])
    consumer = Consumer(log, narrow)
    batch = consumer.next_batch(DEADLINE)
    assert batch is not None
    assert (len(batch.engagements), batch.dead_lettered) == (3, 2)
    state = consumer.state_dict()
    assert sorted((one.offset, one.reason) for one in read_dead_letters(log, ["engagements"])) == [
        (1, "malformed"),
        (3, "far_past"),
    ]

    assert replay(log, ["engagements"], DeadLetterFilter()).replayed.total() == 2
    wide = Consumer(log, narrow.model_copy(update={"max_past": 86_400.0}), state=state)
    batch = wide.next_batch(DEADLINE)
    assert batch is not None
    assert batch.engagements.ts.tolist() == [old.ts]
    assert batch.dead_lettered == 1
    assert sorted((one.offset, one.reason) for one in read_dead_letters(log, ["engagements"])) == [
        (1, "malformed"),
        (3, "far_past"),
        (5, "malformed"),
    ]
    assert replay(log, ["engagements"], DeadLetterFilter(), dry_run=True) == ReplayReport(
        3, {"engagements": 1}, {SkipReason.ALREADY_REPLAYED: 2}
    )
