"""One suite for all implementations of `EventLog`."""

from __future__ import annotations

import time
import uuid
from itertools import chain

import pytest

from hsnn.streaming.errors import AppendError, UnknownTopicError
from hsnn.streaming.log.base import EventLog, ProducerRecord, StatesDurability
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.log.records import Record
from tests.waiting import DEADLINE


@pytest.fixture
def topic(log: EventLog) -> str:
    name = f"t-{uuid.uuid4().hex}"
    log.create_topic(name, 3)
    return name


def fill(log: EventLog, topic: str, count: int, start: int = 0) -> None:
    log.append(
        topic, [ProducerRecord(b"k%d" % (i % 17), b"v%d" % i, sent_at=1000 + i) for i in range(start, start + count)]
    )
    log.flush()


def read_all(log: EventLog, count: int, step: int = 1000, seconds: float = DEADLINE) -> list[Record]:
    found: list[Record] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += chain.from_iterable(log.poll(step, 0.2))
    return found


def places(topic: str, partitions: int = 3) -> list[tuple[str, int]]:
    return [(topic, p) for p in range(partitions)]


def test_log_implements_the_protocol(log: EventLog) -> None:
    assert isinstance(log, EventLog)


def test_logs_of_servers_say_what_survives(log: EventLog) -> None:
    assert isinstance(log, MemoryLog) or (isinstance(log, StatesDurability) and log.durability())


def test_topic_is_created_once_and_keeps_its_partitions(log: EventLog, topic: str) -> None:
    log.create_topic(topic, 5)
    assert log.partitions(topic) == [0, 1, 2]
    assert log.partitions("t-" + uuid.uuid4().hex) == []


def test_append_to_unknown_topic_is_an_error(log: EventLog) -> None:
    with pytest.raises(UnknownTopicError, match="create it first"):
        log.append("t-" + uuid.uuid4().hex, [ProducerRecord(b"k", b"v")])


def test_records_are_read_complete_and_in_order(log: EventLog, topic: str) -> None:
    fill(log, topic, 500)
    log.seek(dict.fromkeys(places(topic), 0))
    found = read_all(log, 500)
    assert sorted(record.value for record in found) == sorted(b"v%d" % i for i in range(500))
    for place in places(topic):
        mine = [record for record in found if (record.topic, record.partition) == place]
        assert [record.offset for record in mine] == list(range(len(mine)))
        numbers = [int((record.value or b"")[1:]) for record in mine]
        assert numbers == sorted(numbers)
        assert [record.sent_at for record in mine] == [1000 + number for number in numbers]
        assert all(record.partition == partition_of(record.key or b"", 3) for record in mine)


def test_key_value_and_headers_survive(log: EventLog, topic: str) -> None:
    headers = (("a", b"\x00\xff"), ("b", b""), ("a", b"again"))
    sent = [
        ProducerRecord(b"k", b"v", headers, 5, partition=0),
        ProducerRecord(b"k", None, (), 6, partition=0),
        ProducerRecord(b"k", None, headers, 7, partition=0),
        ProducerRecord(None, b"no key", (), 8, partition=0),
        ProducerRecord(b"", b"", (), 9, partition=0),
    ]
    log.append(topic, sent)
    log.flush()
    log.seek({(topic, 0): 0})
    assert read_all(log, 5) == [
        Record(topic, 0, i, record.key, record.value, record.headers, record.sent_at or 0)
        for i, record in enumerate(sent)
    ]


def test_records_without_time_are_stamped(log: EventLog, topic: str) -> None:
    before = time.time() * 1000
    log.append(topic, [ProducerRecord(b"k", b"v")])
    log.flush()
    log.seek(dict.fromkeys(places(topic), 0))
    assert before - 1 <= read_all(log, 1)[0].sent_at <= time.time() * 1000


def test_records_without_key_are_spread_over_partitions(log: EventLog, topic: str) -> None:
    log.append(topic, [ProducerRecord(None, b"v") for _ in range(30)])
    log.flush()
    assert set(log.end_positions(places(topic)).values()) == {10}


def test_append_to_missing_partition_is_an_error(log: EventLog, topic: str) -> None:
    with pytest.raises(AppendError, match="partition 3 does not exist"):
        log.append(topic, [ProducerRecord(b"k", b"v", partition=3)])


def test_seek_forward_and_back(log: EventLog, topic: str) -> None:
    fill(log, topic, 300)
    end = log.end_positions(places(topic))
    log.seek({place: count - 2 for place, count in end.items()})
    assert len(read_all(log, 6)) == 6
    assert log.lag() == 0
    log.seek({(topic, 1): end[topic, 1] - 1})
    again = read_all(log, 1)
    assert [(record.partition, record.offset) for record in again] == [(1, end[topic, 1] - 1)]
    assert log.positions() == {(topic, 1): end[topic, 1]}


def test_bounds_and_lag(log: EventLog, topic: str) -> None:
    assert log.end_positions(places(topic)) == dict.fromkeys(places(topic), 0)
    fill(log, topic, 90)
    assert log.begin_positions(places(topic)) == dict.fromkeys(places(topic), 0)
    assert sum(log.end_positions(places(topic)).values()) == 90
    log.seek(dict.fromkeys(places(topic), 0))
    assert log.lag() == 90
    read_all(log, 90)
    assert log.lag() == 0
    assert log.positions() == log.end_positions(places(topic))


def test_poll_reads_only_the_given_partitions(log: EventLog, topic: str) -> None:
    """Polls of few records, one partition after the other: records fetched from the others must not be lost."""
    fill(log, topic, 3000)
    end = log.end_positions(places(topic))
    log.seek(dict.fromkeys(places(topic), 0))
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    deadline = time.monotonic() + DEADLINE
    turn = 0
    while sum(map(len, found.values())) < 3000 and time.monotonic() < deadline:
        turn = (turn + 1) % 3
        for records in log.poll(70, 0.1, [(topic, turn)]):
            assert records.position == (topic, turn)
            found[turn] += records.offsets.tolist()
    assert found == {partition: list(range(end[topic, partition])) for partition in range(3)}


def test_poll_is_bounded_and_fair(log: EventLog, topic: str) -> None:
    fill(log, topic, 3000)
    log.seek(dict.fromkeys(places(topic), 0))
    sizes = []
    while sum(sizes) < 3000 and (found := log.poll(300, 1.0)):
        assert all(map(len, found))
        assert len({records.position for records in found}) == len(found)
        sizes.append(sum(map(len, found)))
        assert sizes[-1] <= 300
    assert sum(sizes) == 3000
    assert log.poll(300, 0.1) == []


def test_poll_waits_for_the_first_record_and_no_longer(log: EventLog, topic: str) -> None:
    log.seek(dict.fromkeys(places(topic), 0))
    start = time.monotonic()
    assert log.poll(10, 0.3) == []
    assert 0.2 < time.monotonic() - start < DEADLINE
    fill(log, topic, 1)
    start = time.monotonic()
    assert [len(records) for records in log.poll(10, 2 * DEADLINE)] == [1]
    assert time.monotonic() - start < DEADLINE


def test_committed_positions_are_kept_per_group(log: EventLog, topic: str) -> None:
    group = "g-" + uuid.uuid4().hex
    assert log.committed(group, places(topic)) == {}
    log.commit(group, {(topic, 0): 5, (topic, 2): 0})
    assert log.committed(group, places(topic)) == {(topic, 0): 5, (topic, 2): 0}
    log.commit(group, {(topic, 0): 6})
    log.commit(group, {})
    assert log.committed(group, [(topic, 0)]) == {(topic, 0): 6}
    assert log.committed("other-" + group, places(topic)) == {}


def test_second_reader_reads_the_same_records(log: EventLog, topic: str, request: pytest.FixtureRequest) -> None:
    other = opened_again(log, request)
    fill(log, topic, 40)
    assert other.partitions(topic) == [0, 1, 2]
    other.seek(dict.fromkeys(places(topic), 0))
    assert len(read_all(other, 40)) == 40
    other.close()


def opened_again(log: EventLog, request: pytest.FixtureRequest) -> EventLog:
    """Return another reader; a memory log is one object, so its second reader is itself."""
    if isinstance(log, MemoryLog):
        return log
    return open_log(request.getfixturevalue("redis_server" if "Redis" in type(log).__name__ else "kafka_url"))
