"""Dead letters hold the original and the reason, and each source position is written once."""

from __future__ import annotations

import logging

import pytest

from hsnn.streaming.dead_letters.reader import DeadLetterFilter
from hsnn.streaming.dead_letters.replay import replay
from hsnn.streaming.dead_letters.writer import REFUSED, WHOLE_RECORD, DeadLetter, DeadLetterWriter, to_record
from hsnn.streaming.errors import AppendError, AppendRefusedError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Record
from hsnn.streaming.schema.arrow import read_interactions, write_interactions


def letter(offset: int, index: int = 0, partition: int = 1, value: bytes | None = b"?") -> DeadLetter:
    record = Record("engagements", partition, offset, b"key", value, (("trace", b"\xff"),), 5)
    return DeadLetter(record, index, "malformed", "what was wrong: \ud800")


def written(log: MemoryLog) -> list[Record]:
    places = [("engagements.dlq", partition) for partition in log.partitions("engagements.dlq")]
    log.seek(dict.fromkeys(places, 0))
    return [record for records in log.poll(10_000, 0.0) for record in records]


def a_log(partitions: int = 4) -> MemoryLog:
    log = MemoryLog()
    log.create_topic("engagements", partitions)
    log.append("engagements", [ProducerRecord(b"k", b"v", partition=p) for p in range(partitions) for _ in range(60)])
    return log


def test_record_has_the_original_and_the_reason() -> None:
    log = a_log()
    assert DeadLetterWriter(log).write([letter(7)]) == 1
    (record,) = written(log)
    assert (record.partition, record.key, record.value) == (1, b"key", b"?")
    assert record.headers == (
        ("trace", b"\xff"),
        ("hsnn-reason", b"malformed"),
        ("hsnn-detail", b"what was wrong: \\ud800"),
        ("hsnn-topic", b"engagements"),
        ("hsnn-partition", b"1"),
        ("hsnn-offset", b"7"),
        ("hsnn-index", b"0"),
    )


def test_no_topic_is_created_without_letters() -> None:
    log = a_log()
    assert DeadLetterWriter(log).write([]) == 0
    assert log.partitions("engagements.dlq") == []


def test_positions_written_before_are_skipped() -> None:
    log = a_log()
    letters = [letter(7), letter(7, 3), letter(8), letter(2, partition=0), letter(9, WHOLE_RECORD)]
    DeadLetterWriter(log).write(letters)
    again = DeadLetterWriter(log)
    again.load_written(["engagements", "items"])
    assert again.write(letters) == 0
    assert again.write([*letters, letter(9, 0), letter(10)]) == 2
    assert len(written(log)) == 7


def test_source_partitions_that_share_one_are_told_apart() -> None:
    log = a_log(8)
    log.create_topic("engagements.dlq", 2)
    DeadLetterWriter(log).write([letter(50, partition=6), letter(3, partition=4)])
    again = DeadLetterWriter(log)
    again.load_written(["engagements"])
    assert again.write([letter(50, partition=6), letter(3, partition=4), letter(4, partition=4)]) == 1


def test_letters_of_a_recreated_topic_are_written() -> None:
    log = a_log()
    DeadLetterWriter(log).write([letter(500), letter(7, partition=0)])
    again = DeadLetterWriter(log)
    again.load_written(["engagements"])
    assert again.write([letter(20), letter(7, partition=0)]) == 1


def test_foreign_records_are_ignored() -> None:
    log = a_log()
    log.create_topic("engagements.dlq", 4)
    log.append(
        "engagements.dlq", [ProducerRecord(b"k", b"v"), ProducerRecord(b"k", b"v", (("hsnn-topic", b"engagements"),))]
    )
    writer = DeadLetterWriter(log)
    writer.load_written(["engagements"])
    assert writer.write([letter(0)]) == 1


def test_letter_of_an_arrow_record_has_one_row() -> None:
    value = write_interactions([1, 2, 3], ["u", "v", "w"], ["a", "b", "c"], ["click"] * 3)
    for original in (value, b"\x00abcd" + value):
        cut = to_record(letter(7, 1, value=original), 4).value
        assert cut is not None
        assert read_interactions(cut).user.tolist() == ["v"]
    assert to_record(letter(7, WHOLE_RECORD, value=value), 4).value == value


def test_letter_of_an_array_has_one_event() -> None:
    value = b'[{"id": 1}, 2]'
    for original in (value, b"\x00abcd" + value):
        assert to_record(letter(7, 1, value=original), 4).value == b"2"
    assert to_record(letter(7, WHOLE_RECORD, value=value), 4).value == value


def test_value_too_large_for_a_broker_is_truncated() -> None:
    sent = to_record(letter(7, value=b"x" * 3_000_000), 4)
    assert sent.value is not None
    assert 999_900 < len(sent.value) < 1_000_000
    assert ("hsnn-truncated-from", b"3000000") in sent.headers


def test_large_key_or_headers_are_truncated() -> None:
    """A record just below a broker's limit must not become a letter above it: the trainer would never get past it."""
    for key, value, headers in (
        (b"k" * 400_000, b"v" * 640_000, ()),
        (b"k" * 2_000_000, None, ()),
        (b"k", b"v" * 900_000, (("trace", b"t" * 300_000),)),
        (b"k", b"v", (("trace", b"t" * 3_000_000),)),
    ):
        record = Record("engagements", 0, 1, key, value, headers, 5)
        sent = to_record(DeadLetter(record, 0, "malformed", "x" * 900), 4)
        size = len(sent.key or b"") + len(sent.value or b"") + sum(len(n) + len(c) for n, c in sent.headers)
        assert size < 1_010_000
        assert dict(sent.headers)["hsnn-truncated-from"] == b"%d" % (len(value or b"") or 2_000_000)
        assert dict(sent.headers)["hsnn-offset"] == b"1"


def test_record_without_key_and_value_gets_an_empty_key() -> None:
    record = Record("engagements", 0, 1, None, None, (), 5)
    sent = to_record(DeadLetter(record, 0, "empty", "no value"), 4)
    assert (sent.key, sent.value) == (b"", None)


class Refusing(MemoryLog):
    """A log that refuses records larger than `limit` bytes, at once or when it is flushed."""

    def __init__(self, limit: int, *, late: bool) -> None:
        super().__init__()
        self.limit, self.late, self.waiting = limit, late, 0

    def append(self, topic, records):
        records = list(records)
        refused = [record for record in records if len(record.value or b"") > self.limit]
        if refused and not self.late:
            raise AppendRefusedError("the record is too large")
        self.waiting += len(refused)
        return super().append(topic, [record for record in records if record not in refused])

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, 0
        if waiting:
            raise AppendRefusedError(f"{waiting} records were not written")


@pytest.mark.parametrize("late", [False, True])
def test_letters_that_are_refused_are_kept_without_their_content(late: bool) -> None:
    log = Refusing(10, late=late)
    log.create_topic("engagements", 4)
    log.append("engagements", [ProducerRecord(b"k", b"v", partition=1) for _ in range(60)])
    writer, before = DeadLetterWriter(log), REFUSED._value.get()
    writer.write([letter(7, value=b"x" * 11), letter(8)])
    writer.flush()
    found = {dict(record.headers)["hsnn-offset"]: record for record in written(log) if record.value is None}
    assert dict(found[b"7"].headers)["hsnn-truncated-from"] == b"11"
    assert dict(found[b"7"].headers)["hsnn-reason"] == b"malformed"
    assert REFUSED._value.get() == before
    log.limit = 1000
    assert replay(log, ["engagements"], DeadLetterFilter()).not_replayable >= 1
    writer.flush()  # nothing is sent a third time
    assert writer.write([letter(7, value=b"x" * 11)]) == 0


def test_letters_that_are_refused_for_good_are_counted_and_named(caplog) -> None:
    log = Refusing(-1, late=False)
    log.create_topic("engagements", 4)
    writer, before = DeadLetterWriter(log), REFUSED._value.get()
    writer.write([letter(7), letter(8, 3)])
    with caplog.at_level(logging.ERROR):
        writer.flush()
    assert REFUSED._value.get() == before + 2
    assert "engagements/1 offset 7 (malformed), engagements/1 offset 8 row 3 (malformed)" in caplog.text


def test_an_outage_is_no_refusal(monkeypatch) -> None:
    log = a_log()
    writer = DeadLetterWriter(log)
    writer.write([letter(7)])

    def away() -> None:
        raise AppendError("the broker does not answer")

    monkeypatch.setattr(log, "flush", away)
    with pytest.raises(AppendError):
        writer.flush()
