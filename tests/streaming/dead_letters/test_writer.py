"""Dead letters hold the original and the reason, and each source position is written once."""

from __future__ import annotations

from hsnn.streaming.dead_letters.writer import WHOLE_RECORD, DeadLetter, DeadLetterWriter, to_record
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
