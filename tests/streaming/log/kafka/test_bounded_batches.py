"""Compressed batches that unpack to too much, or are damaged, cost themselves and not the process."""

from __future__ import annotations

import gzip
import re
import struct
import tracemalloc
from contextlib import suppress

import lz4.frame
import pytest
import snappy
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.errors import UnreadableBatchError
from hsnn.streaming.log.kafka import bounded_batches
from hsnn.streaming.log.kafka.bounded_batches import bound_batches, unpack
from hsnn.streaming.log.records import UNREADABLE, Record, RecordBatch
from hsnn.streaming.schema.topics import TopicRole

GZIP, SNAPPY, LZ4, ZSTD = (
    DefaultRecordBatch.CODEC_GZIP,
    DefaultRecordBatch.CODEC_SNAPPY,
    DefaultRecordBatch.CODEC_LZ4,
    DefaultRecordBatch.CODEC_ZSTD,
)
ENCODERS = {
    "gzip": (GZIP, codec.gzip_encode),
    "gzip, two members": (GZIP, lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "snappy": (SNAPPY, snappy.compress),
    "snappy of Java": (SNAPPY, codec.snappy_encode),
    "lz4": (LZ4, codec.lz4_encode),
    "lz4, two frames": (LZ4, lambda data: lz4.frame.compress(data[:9]) + lz4.frame.compress(data[9:])),
    "zstd": (ZSTD, zstandard.compress),
    "zstd, no length declared": (ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress),
}
BOMB = bytes(40 << 20)
# Places in a batch: of what the checksum covers, and of the records.
ATTRIBUTES, RECORDS = DefaultRecordBatch.ATTRIBUTES_OFFSET, DefaultRecordBatch.HEADER_STRUCT.size


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.binary(min_size=1, max_size=5000))
def test_what_was_packed_comes_back(name, data):
    number, encode = ENCODERS[name]
    assert unpack(number, encode(data)) == data


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.binary(min_size=20, max_size=200), place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_damage_is_an_error_of_ours_or_harmless(name, data, place, byte):
    number, encode = ENCODERS[name]
    packed = bytearray(encode(data))
    packed[place % len(packed)] = byte
    with suppress(UnreadableBatchError):
        unpack(number, bytes(packed), limit=10_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_takes_no_memory(name):
    number, encode = ENCODERS[name]
    packed = encode(BOMB)
    tracemalloc.start()
    with pytest.raises(UnreadableBatchError, match="unpacks to more than"):
        unpack(number, packed, limit=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def batches(*compressed: tuple[int, list[bytes]]) -> MemoryRecords:
    """Batches of a codec and values each, offsets ascending."""
    blob, offset = b"", 0
    for number, values in compressed:
        builder = MemoryRecordsBuilder(2, number, 1 << 26, offset)
        for value in values:
            builder.append(timestamp=5, key=b"k", value=value)
        builder.close()
        blob += builder.buffer()
        offset += len(values)
    return MemoryRecords(bytearray(blob))


def read(records: MemoryRecords) -> list[Record]:
    bound_batches()
    out = []
    while (batch := records.next_batch()) is not None:
        assert batch.validate_crc()
        out += [Record("t", 0, r.offset, r.key, r.value, tuple(r.headers), r.timestamp) for r in batch]
    return out


@pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD])
def test_reading_goes_on_behind_a_batch_that_is_too_large(number, monkeypatch):
    monkeypatch.setattr(bounded_batches, "MAX_BATCH_BYTES", 10_000)
    found = read(batches((number, [b"a", b"b"]), (number, [bytes(5000)] * 3), (number, [b"c"])))
    assert [(record.offset, record.value) for record in found] == [(0, b"a"), (1, b"b"), (4, None), (5, b"c")]
    assert found[2].headers[0][0] == UNREADABLE
    table = decode_records(TopicRole.ITEMS, RecordBatch.from_records([found[2]]))
    assert str(table.payload[0].reason) == "unreadable"
    assert re.fullmatch(r"a batch of 3 records, .* to 4: it unpacks to more than 10000 bytes", table.payload[0].detail)


def test_too_many_records_are_one_dead_letter(monkeypatch):
    monkeypatch.setattr(bounded_batches, "MAX_BATCH_RECORDS", 2)
    found = read(batches((0, [b"a", b"b"]), (0, [b"c"] * 3)))
    assert [(record.offset, record.value) for record in found] == [(0, b"a"), (1, b"b"), (4, None)]


def one_batch(headers: list[list[tuple[str, bytes]]], number: int = 0) -> bytearray:
    """A batch of records with these headers and the values b"0", b"1"."""
    builder = MemoryRecordsBuilder(2, number, 1 << 26, 0)
    for value, of_record in enumerate(headers):
        builder.append(timestamp=5, key=b"k", value=b"%d" % value, headers=of_record)
    builder.close()
    return bytearray(builder.buffer())


def with_crc(batch: bytearray) -> MemoryRecords:
    """The batch, after its bytes were changed."""
    struct.pack_into(">I", batch, DefaultRecordBatch.CRC_OFFSET, calc_crc32c(memoryview(batch)[ATTRIBUTES:]))
    return MemoryRecords(batch)


def test_a_header_that_is_not_utf8_costs_its_own_record():
    batch = one_batch([[("size", b"1")], [("sizX", b"1")], []])
    batch[batch.index(b"sizX") + 3] = 0xFC  # as of Latin-1
    found = read(with_crc(batch))
    assert [(record.offset, record.value) for record in found] == [(0, b"0"), (1, None), (2, b"2")]
    table = decode_records(TopicRole.ITEMS, RecordBatch.from_records([found[1]]))
    assert str(table.payload[0].reason) == "unreadable"
    assert "a record of the batch with offsets 0 to 2: " in table.payload[0].detail
    assert "UnicodeDecodeError" in table.payload[0].detail


@pytest.mark.parametrize("number", [0, ZSTD])
def test_a_million_headers_are_one_dead_letter(number):
    few, many = [("", b"")] * 3, [("", b"")] * 350_000
    found = read(MemoryRecords(one_batch([many, many], number) + one_batch([few])))
    assert [len(record.headers) for record in found] == [1, 3]
    assert b"its records declare more than 524288 headers" in found[0].headers[0][1]


def test_half_a_million_headers_are_read():
    many = [("", b"")] * 260_000
    assert [len(record.headers) for record in read(MemoryRecords(one_batch([many, many, []])))] == [260_000, 260_000, 0]


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_a_batch_holds_reading_ends_behind_it(changes):
    """A broker checks the checksum, and little of what is behind it."""
    batch = one_batch([[("a", b"1")], [], [("b", b"2"), ("c", b"")]])
    for place, byte in changes:
        batch[RECORDS + place % (len(batch) - RECORDS)] = byte
    found = read(with_crc(batch))
    assert 1 <= len(found) <= 4
    assert all(0 <= record.offset <= 2 for record in found if dict(record.headers).get(UNREADABLE))
