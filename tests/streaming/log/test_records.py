"""`RecordBatch` equals the sequence of its records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.log.records import Record, RecordBatch

_bytes = st.none() | st.binary(max_size=3)
_headers = st.lists(st.tuples(st.text(max_size=2), st.binary(max_size=2)), max_size=2).map(tuple)
_facts = st.tuples(_bytes, _bytes, _headers, st.integers(0, 10**15))


@st.composite
def some(draw: st.DrawFn) -> list[Record]:
    offsets = sorted(draw(st.sets(st.integers(0, 50), min_size=1, max_size=8)))
    return [Record("t", 3, offset, *draw(_facts)) for offset in offsets]


@given(some(), st.integers(0, 9), st.integers(0, 9))
def test_batch_is_the_sequence_of_its_records(records: list[Record], start: int, stop: int) -> None:
    columns = RecordBatch.from_records(records)
    assert list(columns) == records
    assert list(columns[start:stop]) == records[start:stop]
    assert columns[-1] == records[-1]
    assert all(columns.at_offset(record.offset) == record for record in records)
    assert columns.size == sum(len(record.value or b"") for record in records)
