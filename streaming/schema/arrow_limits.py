"""What an Arrow record will unpack to, read from what its messages declare, before anything is unpacked.

Compressed buffers, dictionaries and views make a small record large: 200 KB can hold 6 GB. pyarrow allocates what a
message declares, so that the declarations are read first, from the flatbuffers of the messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

# Names of the messages, as pyarrow calls them, that have a body with buffers.
_BATCH, _DICTIONARY = "record batch", "dictionary"

# Slot of a field that is read, by its order in the table Message of Arrow's Message.fbs.
_HEADER = 2
# The same of RecordBatch.
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
# The same of DictionaryBatch.
_DATA = 1

# Bytes of a slot in a vtable, of the vtable's own head, and of a buffer's description: offset and length.
_SLOT, _VTABLE_HEAD, _BUFFER = 2, 4, 16

# Bytes before a compressed buffer that say how long it is unpacked; -1: it is not compressed.
_PREFIX = 8


class DeclaredSize(NamedTuple):
    """Rows of all record batches, and bytes of all buffers once they are unpacked."""

    rows: int
    bytes: int


def declared_size(value: bytes) -> DeclaredSize:
    """Sum up what the messages of an Arrow IPC stream declare.

    Raises
    ------
    ValueError
        A declaration is damaged.

    Examples
    --------
    >>> sink = pa.BufferOutputStream()
    >>> table = pa.table({"x": pa.array([7] * 100_000, pa.int64())})
    >>> with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
    ...     writer.write_table(table)
    >>> len(sink.getvalue()) < 50_000, declared_size(sink.getvalue().to_pybytes())
    (True, DeclaredSize(rows=100000, bytes=800000))
    """
    rows = unpacked = 0
    for message in _messages(value):
        if message.type not in (_BATCH, _DICTIONARY):
            continue
        try:
            metadata, body = message.metadata.to_pybytes(), message.body
            batch = _Table.root(metadata).table(_HEADER)
            if message.type == _DICTIONARY:
                batch = batch.table(_DATA)
            else:
                rows += batch.number(_LENGTH)
            unpacked += sum(_unpacked_bytes(batch, body))
        except (struct.error, IndexError) as error:
            raise ValueError(f"a message is damaged: {error}") from None
        if batch.number(_LENGTH) < 0:
            raise ValueError(f"a message declares {batch.number(_LENGTH)} rows")
    return DeclaredSize(rows, unpacked)


def _messages(value: bytes) -> Iterator[Any]:
    reader = pa.ipc.MessageReader.open_stream(value)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _unpacked_bytes(batch: _Table, body: Any) -> Iterator[int]:
    compressed = batch.has(_COMPRESSION)
    size = 0 if body is None else body.size
    for offset, length in batch.buffers(_BUFFERS):
        if offset < 0 or length < 0 or offset + length > size:
            raise ValueError(f"a buffer at {offset} of {length} bytes lies outside of its message")
        if not compressed or length < _PREFIX:
            yield length
            continue
        (declared,) = struct.unpack_from("<q", body, offset)
        yield length if declared == -1 else declared
        if declared < -1:
            raise ValueError(f"a buffer declares {declared} bytes")


class _Table(NamedTuple):
    """A table of a flatbuffer: its bytes, and where it begins."""

    blob: bytes
    start: int

    @classmethod
    def root(cls, blob: bytes) -> _Table:
        """Return the outermost table."""
        return cls(blob, _unpack("<I", blob, 0))

    def _field(self, slot: int) -> int:
        """Return where a field is; 0 if it is absent."""
        vtable = self.start - _unpack("<i", self.blob, self.start)
        place = _VTABLE_HEAD + _SLOT * slot
        if place >= _unpack("<H", self.blob, vtable):
            return 0
        offset = _unpack("<H", self.blob, vtable + place)
        return self.start + offset if offset else 0

    def has(self, slot: int) -> bool:
        """Return whether a field is there."""
        return bool(self._field(slot))

    def number(self, slot: int) -> int:
        """Return a field of 64 bits; 0 if it is absent."""
        place = self._field(slot)
        return _unpack("<q", self.blob, place) if place else 0

    def table(self, slot: int) -> _Table:
        """Return a field that is a table, which must be there."""
        place = self._field(slot)
        if not place:
            raise IndexError(f"field {slot} is missing")
        return _Table(self.blob, place + _unpack("<I", self.blob, place))

    def buffers(self, slot: int) -> Iterator[tuple[int, int]]:
        """Yield offset and length of each buffer in a field that is a vector of them."""
        place = self._field(slot)
        if not place:
            return
        start = place + _unpack("<I", self.blob, place)
        for number in range(_unpack("<I", self.blob, start)):
            yield struct.unpack_from("<qq", self.blob, start + 4 + _BUFFER * number)


def _unpack(form: str, blob: bytes, place: int) -> int:
    """Read a number; a place before the begin is an error, not a place counted from the end."""
    if place < 0:
        raise IndexError(f"place {place}")
    number: int = struct.unpack_from(form, blob, place)[0]
    return number
