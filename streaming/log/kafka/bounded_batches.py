"""Record batches of bounded size: what unpacks to gigabytes, or to nothing, must not end the consumer at every start.

kafka-python unpacks a whole batch at once, whatever it unpacks to. Here a batch is unpacked piece by piece up to a
limit. One that exceeds it, or is damaged, is read as a single record without a value, at the offset of its last one,
whose header says what it was: a dead letter (`hsnn.streaming.decode.decoder`), and reading goes on behind it. A record
that cannot be read, such as one with a header in another encoding than UTF-8, is a dead letter without its neighbours.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

from hsnn.streaming.errors import UnreadableBatchError
from hsnn.streaming.log.records import UNREADABLE

MAX_BATCH_BYTES = 64 << 20
"""Bytes that a batch may unpack to: producers collect a megabyte at most, unless they send larger records."""

MAX_BATCH_RECORDS = 1 << 19
"""Records of a batch: a megabyte of the smallest ones; each becomes an object of some hundred bytes."""

MAX_BATCH_HEADERS = 1 << 19
"""Headers of a batch's records, all together: the smallest has two bytes, and becomes an object of about a hundred."""

# Bytes of the smallest header: two lengths of zero.
_MIN_HEADER_BYTES = 2

# Characters of an error that are kept: some hold the bytes that could not be read.
_DETAIL = 300

# Bytes unpacked at once.
_PIECE = 1 << 20

# The stream format of Java's Snappy: magic, version, compatible version; then blocks, each after its length.
_XERIAL_MAGIC, _XERIAL_HEAD = b"\x82SNAPPY\x00", 16

# Bits of a byte in a length of Snappy, and bytes of the longest one.
_VARINT_BITS, _VARINT_BYTES = 7, 5

# zlib's parameter for the format gzip.
_GZIP = 31

_ERRORS = (zlib.error, RuntimeError, ValueError, EOFError, struct.error)
"""What the codecs raise for damaged bytes."""


_read_next = DefaultRecordBatch.__next__


def bound_batches() -> None:
    """Make every consumer of this process unpack batches by `unpack`, and go on behind records that it cannot read."""
    DefaultRecordBatch._maybe_uncompress = _unpack_batch
    DefaultRecordBatch.__next__ = _next_record


def unpack(codec: int, data: bytes, limit: int = MAX_BATCH_BYTES) -> bytearray:
    """Unpack the records of a batch.

    Parameters
    ----------
    codec
        Number of the codec, as in the attributes of a batch.
    data
        The compressed bytes.
    limit
        Most bytes that come of them.

    Raises
    ------
    UnreadableBatchError
        There are more, or the bytes are damaged.

    Examples
    --------
    >>> import zstandard
    >>> unpack(DefaultRecordBatch.CODEC_ZSTD, zstandard.compress(b"abc" * 5))
    bytearray(b'abcabcabcabcabc')
    >>> unpack(DefaultRecordBatch.CODEC_ZSTD, zstandard.compress(bytes(5000)), limit=4999)
    Traceback (most recent call last):
    hsnn.streaming.errors.UnreadableBatchError: it unpacks to more than 4999 bytes
    """
    unpacked = bytearray()
    try:
        for piece in _CODECS[codec](data, limit):
            if len(unpacked) + len(piece) > limit:
                raise UnreadableBatchError(f"it unpacks to more than {limit} bytes")
            unpacked += piece
    except _ERRORS as error:
        raise UnreadableBatchError(f"it is damaged: {type(error).__name__}: {error}") from error
    return unpacked


def _unpack_batch(batch: Any) -> None:
    """Unpack a batch of kafka-python in place; one that cannot be becomes a single record that cannot be read."""
    if batch._decompressed:
        return
    batch._decompressed = True
    try:
        if batch.records_count > MAX_BATCH_RECORDS:
            raise UnreadableBatchError(f"it declares more than {MAX_BATCH_RECORDS} records")
        if batch.compression_type != batch.CODEC_NONE:
            batch._assert_has_codec(batch.compression_type)
            compressed = bytes(memoryview(batch._buffer)[batch._pos :])
            batch._buffer, batch._pos = unpack(batch.compression_type, compressed, MAX_BATCH_BYTES), 0
        # a smaller batch cannot hold as many
        if len(batch._buffer) - batch._pos > _MIN_HEADER_BYTES * MAX_BATCH_HEADERS:
            _count_headers(batch)
    except UnreadableBatchError as error:
        batch._buffer, batch._pos, batch._num_records = _UnreadableBuffer(str(error)), 0, 1


class _UnreadableBuffer(bytearray):
    """Takes the place of a batch's bytes where they cannot be unpacked: empty, so that no record can be read."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail


def _count_headers(batch: Any) -> None:
    """Refuse a batch whose records declare too many headers; what is no record is left to `_next_record`."""
    buffer, start, headers = batch._buffer, batch._pos, 0
    with suppress(ValueError, IndexError):
        for _ in range(batch.records_count):
            length, place = decode_varint(buffer, start)
            start = place + length
            for _ in range(3):  # attributes, time and offset
                _, place = decode_varint(buffer, place)
            for _ in range(2):  # key and value, of length -1 if there is none
                size, place = decode_varint(buffer, place)
                place += max(0, size)
            count, _ = decode_varint(buffer, place)
            headers += max(0, count)
            if headers > MAX_BATCH_HEADERS:
                raise UnreadableBatchError(f"its records declare more than {MAX_BATCH_HEADERS} headers")


def _next_record(batch: Any) -> Any:
    """Return the next record of a batch, or one that stands for what cannot be read there."""
    try:
        return _read_next(batch)
    except CorruptRecordError as error:
        offsets = f"offsets {batch.base_offset} to {batch.last_offset}"
        if isinstance(batch._buffer, _UnreadableBuffer):
            detail = f"a batch of {batch.records_count} records, {offsets}: {batch._buffer.detail}"
        else:
            detail = f"a record of the batch with {offsets}: {str(error)[:_DETAIL]}"
        return DefaultRecord(
            size_in_bytes=0,
            offset=_skip_record(batch),
            timestamp=batch.first_timestamp,
            timestamp_type=batch.timestamp_type,
            key=None,
            value=None,
            headers=[(UNREADABLE, detail.encode())],
        )


def _skip_record(batch: Any) -> int:
    """Move behind the record that is next, or to the end of a batch that cannot be followed; return its offset."""
    end = len(batch._buffer)
    with suppress(ValueError, IndexError):
        length, place = decode_varint(batch._buffer, batch._pos)
        _, after = decode_varint(batch._buffer, place)
        _, after = decode_varint(batch._buffer, after)
        delta, _ = decode_varint(batch._buffer, after)
        follows = batch._next_record_index < batch._num_records and 0 < length <= end - place
        if follows and 0 <= delta <= batch.last_offset_delta:
            batch._pos = place + length
            batch._next_record_index += 1
            return int(batch.base_offset + delta)
    batch._pos, batch._next_record_index = end, batch._num_records
    return int(batch.last_offset)


def _gzip(data: bytes, _limit: int) -> Iterator[bytes]:
    while data:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            piece = member.decompress(data, _PIECE)
            data = member.unconsumed_tail
            yield piece
            if not piece and not data and not member.eof:
                raise EOFError("the end is missing")
        data = member.unused_data


def _snappy(data: bytes, limit: int) -> Iterator[bytes]:
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        yield _snappy_block(data, limit)
        return
    place = _XERIAL_HEAD
    while place < len(data):
        (size,) = struct.unpack_from("!i", data, place)
        place += 4
        if not 0 < size <= len(data) - place:
            raise ValueError(f"a block of {size} bytes at {place} of {len(data)}")
        yield _snappy_block(data[place : place + size], limit)
        place += size


def _snappy_block(block: bytes, limit: int) -> bytes:
    """Unpack a block, which declares its length at its begin: seven bits a byte, the last one below 128."""
    declared = 0
    for number, byte in enumerate(block[:_VARINT_BYTES]):
        declared |= (byte & 0x7F) << (_VARINT_BITS * number)
        if byte < 0x80:
            break
    if declared > limit:
        raise UnreadableBatchError(f"it unpacks to more than {limit} bytes")
    import snappy  # of the extra `train`, as the other codecs; kafka-python has asked for them before

    try:
        return bytes(snappy.uncompress(block))
    except snappy.UncompressError as error:
        raise ValueError(str(error)) from error


def _lz4(data: bytes, _limit: int) -> Iterator[bytes]:
    import lz4.frame

    while data:
        frame = lz4.frame.LZ4FrameDecompressor()
        rest = data
        while not frame.eof:
            piece = frame.decompress(rest, _PIECE)
            rest = b""
            yield piece
            if not piece and frame.needs_input and not frame.eof:
                raise EOFError("the end is missing")
        data = frame.unused_data or b""


def _zstd(data: bytes, _limit: int) -> Iterator[bytes]:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        try:
            while piece := reader.read(_PIECE):
                yield piece
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error


_CODECS: dict[int, Callable[[bytes, int], Iterator[bytes]]] = {
    DefaultRecordBatch.CODEC_GZIP: _gzip,
    DefaultRecordBatch.CODEC_SNAPPY: _snappy,
    DefaultRecordBatch.CODEC_LZ4: _lz4,
    DefaultRecordBatch.CODEC_ZSTD: _zstd,
}
