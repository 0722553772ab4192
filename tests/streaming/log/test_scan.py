"""Reading a range of a log."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.scan import read_range, read_topic


@pytest.mark.slow
@settings(deadline=None)  # thousands of records
@given(st.lists(st.integers(0, 2500), min_size=6, max_size=6), st.data())
def test_read_range_reads_exactly_the_range(sizes: list[int], data: st.DataObject) -> None:
    log, begin, end = MemoryLog(), {}, {}
    log.create_topic("t", len(sizes))
    for partition, size in enumerate(sizes):
        log.append("t", [ProducerRecord(None, b"", partition=partition)] * size)
        begin["t", partition] = data.draw(st.integers(0, size))
        end["t", partition] = data.draw(st.integers(begin["t", partition], size))
    read = sorted((record.partition, record.offset) for record in read_range(log, begin, end))
    assert read == [(p, offset) for (_, p), first in begin.items() for offset in range(first, end["t", p])]


def test_records_appended_meanwhile_are_not_read() -> None:
    log = MemoryLog()
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(None, b"1"), ProducerRecord(None, b"2")])
    read = []
    for record in read_topic(log, "t"):
        read.append(record.value)
        log.append("t", [ProducerRecord(None, b"later")])
    assert read == [b"1", b"2"]
    assert list(read_topic(log, "no such topic")) == []
