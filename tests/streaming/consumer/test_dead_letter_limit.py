"""The limit: a schema break halts the consumer, in every run at the same event; single bad events do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.batch_queue import MAX_SIDE_ROWS
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.dead_letter_limit import DeadLetterLimit
from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.event_table import EventTable, RowKind, table_of_records
from hsnn.streaming.errors import DeadLetterFloodError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Record, RecordBatch

T0 = 1_600_000_000_000
CONFIG = StreamingConfig(
    log="memory", batch_size=10, max_wait=0.0, partitions=1, dead_letter_share=0.5, dead_letter_window=20
)


def rows(pattern: str, start: int = 0) -> EventTable:
    """Delivered rows of partition 0: ``.`` is fine, ``x`` is malformed, ``i`` is invalid."""
    if not pattern:
        return EventTable.with_size(0)
    records = RecordBatch.from_records(
        [Record("engagements", 0, start + at, b"k", b"v", (), 5) for at in range(len(pattern))]
    )
    made = table_of_records(records, RowKind.INTERACTION)
    for at, (mark, record) in enumerate(zip(pattern, records, strict=True)):
        if mark != ".":
            made.kind[at] = RowKind.DEAD
            reason = "malformed" if mark == "x" else "invalid"
            made.payload[at] = DeadLetter(record, 0, reason, "detail")
    return made


def first_exceeded(limit: DeadLetterLimit, pattern: str, cuts: Sequence[int] = ()) -> int | None:
    """Number of events after which the limit says stop, if it does."""
    edges = [0, *sorted(cut % (len(pattern) + 1) for cut in cuts), len(pattern)]
    for start, stop in pairwise(edges):
        if exceeded := limit.check(rows(pattern[start:stop], start)):
            return start + exceeded.stop
    return None


def plainly(pattern: str, share: float, window: int) -> int | None:
    for end in range(window, len(pattern) + 1):
        if sum(mark != "." for mark in pattern[end - window : end]) > share * window:
            return end
    return None


patterns = st.text("..xi", max_size=120)


@given(patterns, st.lists(st.integers(0, 120), max_size=5), st.sampled_from([0.2, 0.5, 0.9]), st.integers(1, 30))
def test_it_stops_where_a_plain_count_does_however_the_rows_come(pattern, cuts, share, window):
    assert first_exceeded(DeadLetterLimit(share, window, ["engagements"]), pattern, cuts) == plainly(
        pattern, share, window
    )


@given(patterns, st.integers(0, 120))
def test_a_restart_goes_on_counting(pattern, cut):
    first, again = (DeadLetterLimit(0.5, 20, ["engagements"]) for _ in range(2))
    head, tail = pattern[:cut], pattern[cut:]
    if first_exceeded(first, head) is None:
        again.load_state_dict(json.loads(json.dumps(first.state_dict())))
        stop, found = first_exceeded(first, tail), first_exceeded(again, tail)
        assert stop == found
        assert first.state_dict() == again.state_dict()


def test_the_error_names_the_commonest_reason_and_where_it_is():
    exceeded = DeadLetterLimit(0.5, 10, ["engagements"]).check(rows("....xxixxx", start=100))
    assert exceeded is not None
    said = str(exceeded.error)
    assert said.startswith("engagements: 6 of the last 10 events are dead letters, and at most 50% may be; 5 of them")
    assert "`malformed`, such as engagements/0 at offset 104 (malformed: detail)" in said
    assert "streaming.dead_letter_share=none" in said


def test_topics_are_counted_apart():
    limit = DeadLetterLimit(0.5, 10, ["items", "engagements"])
    fine, bad, last = rows("." * 100), rows("x" * 9), rows("x")
    bad.partition[:] = last.partition[:] = 1
    assert [limit.check(some) for some in (fine, bad, fine)] == [None] * 3
    exceeded = limit.check(last)
    assert exceeded is not None
    assert "10 of the last 10" in str(exceeded.error)


def test_without_a_cap_nothing_stops():
    assert first_exceeded(DeadLetterLimit(None, 10, ["engagements"]), "x" * 500) is None


def good(at: int) -> bytes:
    event = {"type": "interaction", "id": at, "ts": T0 + at, "user": "u", "item": f"i{at}", "action": "click"}
    return json.dumps(event).encode()


def a_log(values: Sequence[bytes]) -> MemoryLog:
    log = MemoryLog()
    log.create_topic("engagements", 1)
    log.append("engagements", [ProducerRecord(b"k", value, sent_at=T0) for value in values])
    return log


def drain(consumer: Consumer) -> int:
    events = 0
    while (batch := consumer.next_batch(0.0)) is not None:
        events += len(batch.engagements)
    return events


BREAK = [good(at) for at in range(100)] + [b"{broken"] * 5000


def test_a_schema_break_halts_the_consumer_and_does_not_drain_the_topic():
    log = a_log(BREAK)
    consumer = Consumer(log, CONFIG)
    with pytest.raises(DeadLetterFloodError, match=r"engagements: 11 of the last 20 events .* at offset 100"):
        drain(consumer)
    assert consumer.counts.delivered == 100
    assert log.end_positions([("engagements.dlq", 0)]) == {("engagements.dlq", 0): 11}
    with pytest.raises(DeadLetterFloodError):  # nobody gets past it by asking again
        drain(consumer)


@pytest.mark.slow
def test_a_restart_halts_at_the_same_event_and_writes_no_letter_twice():
    log = a_log(BREAK)
    consumer = Consumer(log, CONFIG)
    for _ in range(8):
        consumer.next_batch(0.0)
    state = consumer.state_dict()
    said = []
    for _ in range(2):
        with pytest.raises(DeadLetterFloodError) as error:
            drain(Consumer(log, CONFIG, state=state))
        said.append(str(error.value))
    assert said[0] == said[1]
    assert log.end_positions([("engagements.dlq", 0)]) == {("engagements.dlq", 0): 11}
    lifted = CONFIG.model_copy(update={"dead_letter_share": None})
    assert drain(Consumer(log, lifted, state=state)) == 20
    assert log.end_positions([("engagements.dlq", 0)]) == {("engagements.dlq", 0): 5000}


@pytest.mark.slow
def test_a_stream_of_dead_letters_comes_in_batches_of_bounded_size():
    log = a_log([b"?"] * (2 * MAX_SIDE_ROWS + 5) + [good(0)])
    consumer = Consumer(log, CONFIG.model_copy(update={"dead_letter_share": None}))
    letters = []
    while (batch := consumer.next_batch(0.0)) is not None:
        letters.append(batch.dead_lettered)
    assert letters == [MAX_SIDE_ROWS, MAX_SIDE_ROWS, 5]
    assert consumer.counts.delivered == 1
