"""Dead letters read back: source, identity, filters, counts."""

from __future__ import annotations

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.reader import (
    FOREIGN,
    DeadLetterFilter,
    StoredDeadLetter,
    count_dead_letters,
    parse_dead_letter,
    read_dead_letters,
    topics_with_dead_letters,
)
from hsnn.streaming.dead_letters.writer import WHOLE_RECORD, DeadLetter, DeadLetterWriter
from hsnn.streaming.errors import UnknownTopicError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Record


def dead(offset: int, reason: str = "invalid", partition: int = 0, index: int = 0, value: bytes = b"?") -> DeadLetter:
    record = Record("engagements", partition, offset, b"k", value, (("trace", b"\xff"), ("hsnn-old", b"x")), 5)
    return DeadLetter(record, index, reason, "why")


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.create_topic("engagements", 2)
    DeadLetterWriter(log).write(
        [dead(7), dead(8, "malformed"), dead(3, partition=1, index=WHOLE_RECORD), dead(9, value=b"x" * 2_000_000)]
    )
    log.append("engagements.dlq", [ProducerRecord(b"k", b"a stranger", (("hsnn-topic", b"engagements"),), partition=1)])
    return log


def all_of(log: MemoryLog) -> list[StoredDeadLetter]:
    return list(read_dead_letters(log, ["engagements"]))


def test_letters_have_their_source_position(log: MemoryLog) -> None:
    found = all_of(log)
    assert sorted((one.partition, one.offset, one.index, one.reason) for one in found) == [
        (-1, -1, -1, FOREIGN),
        (0, 7, 0, "invalid"),
        (0, 8, 0, "malformed"),
        (0, 9, 0, "invalid"),
        (1, 3, WHOLE_RECORD, "invalid"),
    ]
    assert [one.foreign for one in found] == [one.reason == FOREIGN for one in found]
    assert {one.truncated_from for one in found} == {0, 2_000_000}
    assert {one.detail for one in found if not one.foreign} == {"why"}


def test_original_headers_exclude_those_of_the_writer(log: MemoryLog) -> None:
    assert {one.headers for one in all_of(log) if not one.foreign} == {(("trace", b"\xff"),)}


def test_last_headers_of_the_writer_count() -> None:
    """A producer forwarded an older dead letter with all its headers."""
    ours = (("hsnn-reason", b"r"), ("hsnn-topic", b"t"), ("hsnn-partition", b"0"), ("hsnn-offset", b"5"))
    old = (*ours, ("hsnn-index", b"0"), ("hsnn-truncated-from", b"9"))
    letter = parse_dead_letter(Record("t.dlq", 0, 1, None, b"", (*old, *ours[:3], ("hsnn-offset", b"6"), old[4]), 0))
    assert (letter.offset, letter.truncated_from) == (6, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"hsnn-reason": b"r"},
        {"hsnn-reason": b"r", "hsnn-topic": b"other", "hsnn-partition": b"0", "hsnn-offset": b"1", "hsnn-index": b"0"},
        {"hsnn-reason": b"r", "hsnn-topic": b"t", "hsnn-partition": b"x", "hsnn-offset": b"1", "hsnn-index": b"0"},
        {"hsnn-reason": b"r", "hsnn-topic": b"\xff", "hsnn-partition": b"0", "hsnn-offset": b"1", "hsnn-index": b"0"},
    ],
)
def test_record_of_another_topic_is_foreign(headers: dict[str, bytes]) -> None:
    assert parse_dead_letter(Record("t.dlq", 0, 1, None, None, tuple(headers.items()), 0)).foreign


def test_identities_are_unique_and_equal_for_copies(log: MemoryLog) -> None:
    found = {one.identity for one in all_of(log)}
    assert len(found) == 5
    for letter in (dead(7), dead(7, value=b"another log's record at this place")):
        DeadLetterWriter(log).write([letter])
    assert len(all_of(log)) == 7
    assert len({one.identity for one in all_of(log)} - found) == 1
    keyless = [parse_dead_letter(Record("t.dlq", 0, 1, key, value, (), 0)) for key, value in ((b"", None), (None, b""))]
    assert keyless[0].identity != keyless[1].identity


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (DeadLetterFilter(), 5),
        (DeadLetterFilter(reason="invalid"), 3),
        (DeadLetterFilter(partition=0), 3),
        (DeadLetterFilter(partition=0, offset=8), 1),
        (DeadLetterFilter("invalid", 0, 8), 0),
    ],
)
def test_filters(log: MemoryLog, wanted: DeadLetterFilter, count: int) -> None:
    assert sum(map(wanted.matches, all_of(log))) == count


def test_counts_per_topic_and_reason() -> None:
    log = MemoryLog()
    log.create_topic("engagements.dlq", 1)
    for sent_at, reason in ((30, b"a"), (10, b"b"), (20, b"a")):
        source = {"topic": b"engagements", "partition": b"0", "offset": b"%d" % sent_at, "index": b"0"}
        headers = (("hsnn-reason", reason), *((f"hsnn-{name}", value) for name, value in source.items()))
        log.append("engagements.dlq", [ProducerRecord(b"k", b"v", headers, sent_at)])
    first = next(iter(read_dead_letters(log, ["engagements"])))
    counts = count_dead_letters(read_dead_letters(log, ["engagements"]), {first.identity})
    assert [(one.topic, one.reason, one.letters, one.first, one.last, one.replayed) for one in counts] == [
        ("engagements", "a", 2, 20, 30, 1),
        ("engagements", "b", 1, 10, 10, 0),
    ]


def test_topics_with_dead_letters(log: MemoryLog) -> None:
    config = StreamingConfig()
    assert topics_with_dead_letters(log, config) == ["engagements"]
    assert topics_with_dead_letters(log, config, "engagements.dlq") == ["engagements"]
    with pytest.raises(UnknownTopicError, match=r"no topic 'items\.dlq' in the log"):
        topics_with_dead_letters(log, config, "items")
