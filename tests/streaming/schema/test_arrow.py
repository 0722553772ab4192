"""Arrow records: types of columns, invalid rows, damaged bytes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from hsnn.streaming.schema.arrow import read_interactions, write_interactions
from hsnn.streaming.schema.columns import ArrowError, is_arrow


def stream(file: bool = False, **columns: Any) -> bytes:
    base: dict[str, Any] = {"ts": [5, 6], "user": ["u", "v"], "item": ["a", "b"], "action": ["click", "view"]}
    table = pa.table({name: column for name, column in {**base, **columns}.items() if column is not None})
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    out: bytes = sink.getvalue().to_pybytes()
    return out


def test_round_trip() -> None:
    record = write_interactions([5, 6], ["u", "v"], ["a", "b"], ["x", "x"], [1.5, None], [{"k": [None][0]}, None])
    assert is_arrow(record)
    read = read_interactions(record)
    assert (read.ts.tolist(), read.user.tolist(), read.item.tolist(), read.action.tolist()) == (
        [5, 6],
        ["u", "v"],
        ["a", "b"],
        ["x", "x"],
    )
    assert read.value[0] == 1.5
    assert np.isnan(read.value[1])
    assert read.context is not None
    assert read.context.tolist() == [{"k": None}, None]
    assert read.rejected == {}


def test_ids_and_impressions_are_optional() -> None:
    names: dict[str, Any] = {"id": [None, "e2"], "impression": ["s1", None]}
    read = read_interactions(write_interactions([5, 6], ["u", "v"], ["a", "b"], ["x", "x"], **names))
    assert read.id is not None
    assert read.impression is not None
    assert (read.id.tolist(), read.impression.tolist(), read.rejected) == ([None, "e2"], ["s1", None], {})
    read = read_interactions(stream(id=[7, 8]))
    assert read.id is not None
    assert (read.id.tolist(), read.impression) == (["7", "8"], None)
    read = read_interactions(stream(id=["x" * 257, None]))
    assert "`id` has 257 characters" in read.left_out["id", 0]
    assert (read.id.tolist(), read.rejected) == ([None, None], {})


@pytest.mark.parametrize(
    "columns",
    [
        {"user": pa.array([1, 2])},
        {"user": pa.array([1, 2], pa.uint64())},
        {"user": pa.array(["1", "2"], pa.large_string())},
        {"user": pa.array(["1", "2"]).dictionary_encode()},
        {"user": pa.array(["1", "2"]), "ts": pa.array([5, 6], pa.timestamp("ms"))},
        {"user": pa.array(["1", "2"]), "ts": pa.array([5_000_000, 6_000_000], pa.timestamp("ns", "UTC"))},
        {"user": pa.array(["1", "2"]), "ts": pa.array([5, 6], pa.int32()), "value": pa.array([1, 2])},
        {"user": pa.array(["1", "2"]), "value": pa.array([None, None]), "type": ["interaction"] * 2, "colour": [1, 2]},
        {"user": pa.array(["1", "2"]), "context": pa.array([{"hour": 1}, None])},
    ],
)
def test_column_types(columns: dict[str, Any]) -> None:
    for file in (False, True):
        read = read_interactions(stream(file, **columns))
        assert (read.user.tolist(), read.ts.tolist(), read.rejected) == (["1", "2"], [5, 6], {})


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"ts": pa.array([None, 6])}, "ts"),
        ({"ts": [-4, 6]}, "ts"),
        ({"ts": [10**15, 6]}, "ts"),
        ({"user": [None, "v"]}, "user"),
        ({"user": ["", "v"]}, "user"),
        ({"item": ["x" * 257, "b"]}, "item"),
        ({"action": ["x" * 65, "b"]}, "action"),
        ({"type": ["impression", "interaction"]}, "impression"),
    ],
)
def test_invalid_row_is_rejected_alone(columns: dict[str, Any], word: str) -> None:
    read = read_interactions(stream(**columns))
    assert list(read.rejected) == [0]
    assert word in read.rejected[0]
    assert (read.item[1], read.ts[1]) == ("b", 6)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"value": [float("nan"), 1.0]}, "value"),
        ({"value": [1e300, 1.0]}, "value"),
        ({"context": ["{", '{"a":1}']}, "context"),
        ({"context": ['{"a":{}}', '{"a":1}']}, "context"),
        ({"context": pa.array([{"hour": [1]}, None])}, "context"),
        ({"impression": ["x" * 257, "s"]}, "impression"),
    ],
)
def test_an_optional_field_that_is_not_understood_costs_the_field(columns: dict[str, Any], field: str) -> None:
    read = read_interactions(stream(**columns))
    assert read.rejected == {}
    assert list(read.left_out) == [(field, 0)]
    assert field in read.left_out[field, 0]
    held = getattr(read, field)[0]
    assert held is None or np.isnan(held)
    assert (read.item.tolist(), read.ts.tolist()) == (["a", "b"], [5, 6])


@pytest.mark.parametrize(
    "columns",
    [{"user": None}, {"ts": [0.5, 1.5]}, {"user": [[1], [2]]}, {"value": ["a", "b"]}],
)
def test_wrong_columns_reject_the_record(columns: dict[str, Any]) -> None:
    with pytest.raises(ArrowError):
        read_interactions(stream(**columns))


def test_damaged_bytes_raise_an_error() -> None:
    record = stream(value=[1.0, 2.0])
    for at in range(0, len(record), 7):
        for damaged in (record[:at], record[:at] + b"\xfe" * 4 + record[at + 4 :]):
            try:
                read = read_interactions(damaged)
            except ArrowError:
                continue
            assert all(isinstance(name, str) or i in read.rejected for i, name in enumerate(read.user.tolist()))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["a", "é"], pa.string_view()), ["a", "é"]),
        (pa.array(["a", "é"]).dictionary_encode(), ["a", "é"]),
        (pa.array([3.0, 7.0]), ["3", "7"]),
        (pa.array([Decimal("3"), Decimal("7")], pa.decimal128(10, 2)), ["3", "7"]),
        (pa.array([b"a", "é".encode()], pa.binary()), ["a", "é"]),
        (
            pa.array([UUID(int=5).bytes, UUID(int=6).bytes], pa.binary(16)),
            [str(UUID(int=5)), str(UUID(int=6))],
        ),
    ],
)
def test_ids_of_data_frames_are_read(column: Any, expected: list[str]) -> None:
    record = stream(user=column, item=column)
    read = read_interactions(record)
    assert (read.user.tolist(), read.item.tolist(), read.rejected) == (expected, expected, {})


@pytest.mark.parametrize(
    "bad", [pa.array([3.0, None]), pa.array([3.0, 3.5]), pa.array([3.0, float("nan")]), pa.array([3.0, 1e300])]
)
def test_a_float_that_is_no_id_costs_its_row(bad: Any) -> None:
    read = read_interactions(stream(user=bad))
    assert (read.user[0], list(read.rejected)) == ("3", [1])


def test_bytes_that_are_no_text_cost_their_row() -> None:
    users = pa.array([b"u", b"\xff"], pa.binary())
    read = read_interactions(stream(user=users))
    assert list(read.rejected) == [1]


def test_a_context_may_be_a_map() -> None:
    contexts = pa.array([[("device", "phone")], None], pa.map_(pa.string(), pa.string()))
    read = read_interactions(stream(context=contexts))
    assert read.context is not None
    assert (read.context.tolist(), read.rejected) == ([{"device": "phone"}, None], {})


def test_a_time_in_another_unit_is_named() -> None:
    assert "microseconds" in read_interactions(stream(ts=[1_700_000_000_000_000, 6])).rejected[0]


def _texts(kind: str, values: list[bytes]) -> pa.Array:
    """Texts of a layout of Arrow whose bytes nobody has looked at."""
    offsets = np.cumsum([0, *map(len, values)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(values))]
    texts = pa.Array.from_buffers(pa.string(), len(values), buffers)
    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int32()), texts)
    return texts.cast({"string": pa.string(), "large": pa.large_string(), "view": pa.string_view()}[kind])


@pytest.mark.parametrize("kind", ["string", "large", "view", "dictionary"])
@pytest.mark.parametrize("column", ["user", "item", "action", "id", "impression", "context"])
def test_a_text_that_is_no_utf8_costs_its_row_or_its_field(kind: str, column: str) -> None:
    good = ["{}"] * 3 if column == "context" else ["a", "b", "c"]
    columns = {"ts": [5, 6, 7], "user": ["a", "b", "c"], "item": ["a", "b", "c"], "action": ["click"] * 3}
    columns[column] = _texts(kind, [good[0].encode(), b"\xff\xfe", good[2].encode()])
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    read = read_interactions(sink.getvalue().to_pybytes())
    assert read.item[[0, 2]].tolist() == ["a", "c"]
    if column in ("user", "item", "action"):
        assert read.rejected == {1: f"`{column}` is neither text in UTF-8 nor a whole number"}
    else:
        assert not read.rejected
        assert list(read.left_out) == [(column, 1)]
