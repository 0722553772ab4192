"""Dead letters read back: where they came from, who they are, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.preview import preview
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
from hsnn.streaming.log.scan import read_range, read_topic


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


def test_each_knows_where_it_came_from(log: MemoryLog) -> None:
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


def test_the_original_headers_are_without_ours(log: MemoryLog) -> None:
    assert {one.headers for one in all_of(log) if not one.foreign} == {(("trace", b"\xff"),)}


def test_only_what_was_put_on_last_is_believed() -> None:
    """A producer sent an older letter on, with all its headers."""
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
def test_what_is_not_of_this_topic_is_foreign(headers: dict[str, bytes]) -> None:
    assert parse_dead_letter(Record("t.dlq", 0, 1, None, None, tuple(headers.items()), 0)).foreign


def test_identities_tell_letters_apart_and_outlive_a_second_copy(log: MemoryLog) -> None:
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


def test_which_topics_have_letters(log: MemoryLog) -> None:
    config = StreamingConfig()
    assert topics_with_dead_letters(log, config) == ["engagements"]
    assert topics_with_dead_letters(log, config, "engagements.dlq") == ["engagements"]
    with pytest.raises(UnknownTopicError, match=r"no topic 'items\.dlq' in the log"):
        topics_with_dead_letters(log, config, "items")


@given(st.lists(st.integers(0, 2500), min_size=6, max_size=6), st.data())
def test_a_sweep_reads_exactly_the_stretch(sizes: list[int], data: st.DataObject) -> None:
    log, begin, end = MemoryLog(), {}, {}
    log.create_topic("t", len(sizes))
    for partition, size in enumerate(sizes):
        log.append("t", [ProducerRecord(None, b"", partition=partition)] * size)
        begin["t", partition] = data.draw(st.integers(0, size))
        end["t", partition] = data.draw(st.integers(begin["t", partition], size))
    found = sorted((record.partition, record.offset) for record in read_range(log, begin, end))
    assert found == [(p, at) for (_, p), first in begin.items() for at in range(first, end["t", p])]


def test_what_comes_during_a_sweep_is_not_read() -> None:
    log = MemoryLog()
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(None, b"1"), ProducerRecord(None, b"2")])
    found = []
    for record in read_topic(log, "t"):
        found.append(record.value)
        log.append("t", [ProducerRecord(None, b"later")])
    assert found == [b"1", b"2"]
    assert list(read_topic(log, "no such topic")) == []


@given(st.binary(max_size=300), st.integers(1, 100))
def test_a_preview_is_one_printable_line_of_bounded_length(value: bytes, longest: int) -> None:
    shown = preview(value, longest)
    assert shown.isprintable()
    assert len(shown) <= 10 * longest + 20
    assert (f"({len(value)} bytes)" in shown) == (len(value) > longest)
