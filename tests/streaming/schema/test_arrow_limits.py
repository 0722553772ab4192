"""Arrow records that unpack to far more than they are: refused before anything of them is unpacked."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import RowKind
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema import arrow
from hsnn.streaming.schema.arrow import MAX_BYTES, MAX_ROWS, read_interactions
from hsnn.streaming.schema.arrow_limits import declared_size
from hsnn.streaming.schema.columns import ArrowError
from hsnn.streaming.schema.topics import TopicRole


def packed(table: Any, codec: str | None = "zstd", *, file: bool = False, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue())


def events(rows: int, **columns: Any) -> Any:
    base = {"ts": np.full(rows, 5), "user": ["u"] * rows, "item": ["a"] * rows, "action": ["click"] * rows}
    return pa.table({**base, **columns})


def wide(rows: int, width: int) -> bytes:
    """Few rows, of long texts that compress well."""
    return packed(events(rows, extra=pa.array(["x" * width] * rows, pa.large_string())))


def shared(kind: str, rows: int, width: int) -> bytes:
    """Rows that share one long text."""
    text = pa.array(["x" * width])
    indices = pa.array(np.zeros(rows, np.int32))
    column = pa.DictionaryArray.from_arrays(indices, text)
    if kind == "context":
        text = pa.array(['{"k": "' + "x" * width + '"}'])
        return packed(events(rows, context=pa.DictionaryArray.from_arrays(indices, text)))
    return packed(events(rows, **{kind: column}))


def blobs(rows: int, width: int) -> bytes:
    """Rows that share one long value of fixed size."""
    values = pa.array([b"x" * width], pa.binary(width))
    return packed(events(rows, user=pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), values)))


def nulls(rows: int) -> bytes:
    """Rows without a byte."""
    base = events(1).slice(0, 0)
    schema = pa.schema([*base.schema, pa.field("extra", pa.null())])
    columns = [pa.nulls(rows, field.type) if field.name == "extra" else pa.nulls(rows, pa.null()) for field in schema]
    return packed(pa.table(columns, names=schema.names))


BOMBS: dict[str, Callable[[], bytes]] = {
    "compressed texts": lambda: wide(10, 30 << 20),
    "users of one long text": lambda: shared("user", 100_000, 100_000),
    "users of one long blob": lambda: blobs(100_000, 100_000),
    "contexts of one long text": lambda: shared("context", 100_000, 100_000),
    "rows of nothing": lambda: nulls(2_000_000),
    "many batches": lambda: packed(events(1_100_000, user=np.zeros(1_100_000, np.int8)), chunk=100_000),
    "lists of nothing": lambda: packed(events(10, context=pa.array([[None] * 10] * 10))),
}


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_one_dead_letter_and_take_no_memory(bomb):
    value = BOMBS[bomb]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = decode_records(TopicRole.ENGAGEMENTS, RecordBatch.from_records([Record("t", 0, 1, b"k", value, (), 1)]))
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert table.kind.tolist() == [RowKind.DEAD]
    assert grown < 150 << 20
    assert len(value) < 8 << 20


@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
@pytest.mark.parametrize("file", [False, True])
def test_what_is_declared_is_what_is_read(codec, file):
    rows = 3000
    table = events(rows, value=np.linspace(0, 1, rows))
    value = packed(table, codec, file=file, chunk=1000)
    size = declared_size(value if not file else value[8:])
    assert size.rows == rows
    assert table.nbytes <= size.bytes + 3 * 64 * len(table.columns)
    read = read_interactions(value)
    assert read.lengths.tolist() == [rows]
    assert read.rejected == {}


def test_records_that_are_too_large_together_are_read_one_by_one(monkeypatch):
    value = packed(events(10, extra=pa.array(["x" * 1_000_000] * 10, pa.large_string())))
    monkeypatch.setattr(arrow, "MAX_BYTES", 25_000_000)
    with pytest.raises(ArrowError, match="together"):
        read_interactions(value, value, value)
    records = [Record("t", 0, offset, b"k", value, (), 1) for offset in range(3)]
    table = decode_records(TopicRole.ENGAGEMENTS, RecordBatch.from_records(records))
    assert table.kind.tolist() == [RowKind.INTERACTION] * 30


def test_a_length_that_is_a_lie_is_refused():
    value = bytearray(packed(events(1000, user=["u" * 100] * 1000)))
    place = value.rindex(struct.pack("<q", 100_000))  # what the texts of the users are unpacked
    value[place : place + 8] = struct.pack("<q", 1 << 40)
    with pytest.raises(ArrowError, match=f"at most {MAX_BYTES}"):
        read_interactions(bytes(value))
    value[place : place + 8] = struct.pack("<q", -7)
    with pytest.raises(ArrowError, match="not a readable Arrow stream"):
        read_interactions(bytes(value))


@pytest.mark.slow
def test_as_many_rows_as_are_allowed_are_read():
    rows = np.zeros(MAX_ROWS, np.int8)
    table = pa.table({"ts": rows, "user": rows, "item": rows, "action": pa.array(["v"] * MAX_ROWS).dictionary_encode()})
    assert read_interactions(packed(table)).lengths.tolist() == [MAX_ROWS]


@pytest.mark.slow
def test_damaged_declarations_never_crash():
    value = packed(events(50), None)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(value)
        for place in rng.integers(len(value), size=3):
            damaged[place] = rng.integers(256)
        with suppress(ArrowError):
            read_interactions(bytes(damaged))


def test_views_of_polars_are_read_and_bounded():
    user = pa.array(["u" * 20, "v"], pa.string_view())
    assert read_interactions(packed(events(2, user=user), None)).user.tolist() == ["u" * 20, "v"]
    views = pa.array(["x", None, "y" * 30, "z"], pa.string_view()).slice(1, 2)
    assert arrow._value_lengths(views, "user").tolist() == [0, 30]


def test_a_struct_of_dictionaries_is_read_and_bounded():
    def context(rows: int, width: int) -> Any:
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * width]))
        return pa.StructArray.from_arrays([texts], ["device"])

    read = read_interactions(packed(events(2, context=context(2, 3))))
    assert read.context is not None
    assert read.context.tolist() == [{"device": "xxx"}] * 2
    with pytest.raises(ArrowError, match="bytes of text"):
        read_interactions(packed(events(100_000, context=context(100_000, 100_000))))
