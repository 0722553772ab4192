"""Many interactions in one record: an Arrow IPC stream (or file) with the JSON events' field names as columns.

Columns ``ts`` (whole numbers or timestamps), ``user``, ``item`` (text or whole numbers), ``action`` (text); ``value``
(numbers), ``context`` (JSON text, or a struct), ``id`` and ``impression`` (text or whole numbers) may be missing, as
may ``type``, which must say ``interaction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hsnn.streaming.schema.contexts import Context, ContextDecoder
from hsnn.streaming.schema.events import Scalar
from hsnn.streaming.schema.ids import MAX_ID

MAX_ROWS = 1_000_000
"""Most interactions in one record."""

_STREAM = b"\xff\xff\xff\xff"
_FILE = b"ARROW1"
_MAX_ACTION = 64
_LAST_MS = 253_402_300_799_999
_shared: ContextDecoder[str] = ContextDecoder()
_contexts: msgspec.json.Decoder[Context] = msgspec.json.Decoder(Context)


class ArrowError(ValueError):
    """The bytes are no Arrow record of interactions."""


@dataclass(frozen=True, slots=True)
class InteractionColumns:
    """Columns of some records, of so many rows each; `refused` says for some rows why they are not usable."""

    lengths: NDArray[np.int64]
    ts: NDArray[np.int64]
    user: NDArray[np.object_]
    item: NDArray[np.object_]
    action: NDArray[np.object_]
    value: NDArray[np.float32]
    context: NDArray[np.object_] | None
    id: NDArray[np.object_] | None
    impression: NDArray[np.object_] | None
    rejected: dict[int, str]


def is_arrow(value: bytes) -> bool:
    """Whether the bytes start like an Arrow IPC stream or file."""
    return value[:4] == _STREAM or value[:6] == _FILE


def write_interactions(
    ts: Sequence[int] | NDArray[np.int64],
    user: Sequence[str],
    item: Sequence[str],
    action: Sequence[str],
    value: Sequence[float | None] | None = None,
    context: Sequence[dict[str, Scalar] | None] | None = None,
    id: Sequence[str | None] | None = None,
    impression: Sequence[str | None] | None = None,
) -> bytes:
    """Write interactions as one record; `read_interactions` reads it back.

    Examples
    --------
    >>> record = write_interactions([5, 6], ["u", "u"], ["a", "b"], ["click", "view"])
    >>> read_interactions(record).item.tolist()
    ['a', 'b']
    """
    columns: dict[str, Any] = {
        "ts": pa.array(ts, pa.int64()),
        "user": pa.array(user, pa.string()),
        "item": pa.array(item, pa.string()),
        "action": pa.array(action, pa.string()).dictionary_encode(),
    }
    if value is not None:
        columns["value"] = pa.array(value, pa.float32())
    if context is not None:
        texts = [None if one is None else msgspec.json.encode(one).decode() for one in context]
        columns["context"] = pa.array(texts, pa.string())
    for name, texts_ in (("id", id), ("impression", impression)):
        if texts_ is not None:
            columns[name] = pa.array(texts_, pa.string())
    return _write(pa.table(columns))


def _write(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    out: bytes = sink.getvalue().to_pybytes()
    return out


def extract_row(value: bytes | None, index: int) -> bytes | None:
    """Cut one event out of a record: a record of its own for Arrow, the record itself for JSON."""
    bare = value[5:] if value is not None and value[:1] == b"\0" else value
    if bare is None or not is_arrow(bare):
        return value
    return _write(_table(bare).slice(index, 1))


# A record with many unusable rows is cut many times, one after the other.
@lru_cache(maxsize=2)
def _table(value: bytes) -> Any:
    try:
        opened = pa.ipc.open_stream(value) if value[:4] == _STREAM else pa.ipc.open_file(pa.BufferReader(value))
        table = opened.read_all()
        table.validate(full=True)  # offsets that point outside their buffer would crash the process later
    except Exception as error:  # pyarrow raises its own, OSError, ValueError, MemoryError, ...
        raise ArrowError(f"not a readable Arrow stream: {type(error).__name__}: {error}") from None
    if len(table) > MAX_ROWS:
        raise ArrowError(f"the record holds {len(table)} interactions; at most {MAX_ROWS} are read")
    return table


def read_interactions(*values: bytes) -> InteractionColumns:
    """Read one record, or several of one schema behind one another: much of the work is per call, not per row.

    Raises
    ------
    ArrowError
        The bytes are damaged, a column is missing or of a wrong type, there are more than `MAX_ROWS` rows in a record,
        or the schemas differ.
    """
    tables = [_table(value) for value in values]
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise ArrowError(f"the records have different columns: {error}") from None
    missing = [name for name in ("ts", "user", "item", "action") if table.schema.names.count(name) != 1]
    if missing:
        raise ArrowError(f"columns {', '.join(missing)} must be there once; there are {', '.join(table.schema.names)}")
    try:
        return _read(table, np.array([len(one) for one in tables]))
    except ArrowError:
        raise
    except Exception as error:  # a cast that does not work, whichever pyarrow's name for it
        raise ArrowError(f"a column has a wrong type: {type(error).__name__}: {error}") from None


def _read(table: Any, lengths: NDArray[np.int64]) -> InteractionColumns:
    refused: dict[int, str] = {}
    ts = _times(table["ts"], refused)
    user, item = (_texts(table, name, MAX_ID, refused) for name in ("user", "item"))
    action = _texts(table, "action", _MAX_ACTION, refused)
    if "type" in table.schema.names:
        kind = _texts(table, "type", _MAX_ACTION, refused)
        refused |= {int(i): f"type {kind[i]!r} is not read from Arrow" for i in np.flatnonzero(kind != "interaction")}
    value = _values(table, refused)
    context = _read_contexts(table["context"], refused) if "context" in table.schema.names else None
    ids, impression = (_maybe_texts(table, name, refused) for name in ("id", "impression"))
    return InteractionColumns(lengths, ts, user, item, action, value, context, ids, impression, refused)


def _times(column: Any, refused: dict[int, str]) -> NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms"), safe=False)
    elif not pa.types.is_integer(column.type):
        raise ArrowError(f"`ts` has type {column.type}; write whole milliseconds or timestamps")
    ts: NDArray[np.int64] = column.cast(pa.int64()).fill_null(-1).to_numpy().copy()
    for at in np.flatnonzero((ts < 0) | (ts > _LAST_MS)):
        refused[int(at)] = f"`ts` is missing or out of range: {ts[at]}"
    return ts


def _maybe_texts(table: Any, name: str, refused: dict[int, str]) -> NDArray[np.object_] | None:
    """Texts of a column that may be missing or have gaps."""
    if name not in table.schema.names:
        return None
    there = pc.is_valid(table[name]).to_numpy()
    problems: dict[int, str] = {}
    texts = _texts(table, name, MAX_ID, problems)
    refused |= {row: problem for row, problem in problems.items() if there[row]}
    return texts


def _texts(table: Any, name: str, longest: int, refused: dict[int, str]) -> NDArray[np.object_]:
    column = table[name]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise ArrowError(f"`{name}` has type {column.type}; write text or whole numbers")
    column = column.cast(pa.large_string())
    length = pc.utf8_length(column).fill_null(0).to_numpy()
    for at in np.flatnonzero((length < 1) | (length > longest)):
        refused[int(at)] = f"`{name}` has {length[at]} characters; between 1 and {longest} are allowed"
    texts: NDArray[np.object_] = column.to_numpy().astype(object)
    return texts


def _values(table: Any, refused: dict[int, str]) -> NDArray[np.float32]:
    if "value" not in table.schema.names:
        return np.full(len(table), np.nan, np.float32)
    column = table["value"].cast(pa.float64())
    wide = column.to_numpy()
    with np.errstate(over="ignore"):
        narrow: NDArray[np.float32] = wide.astype(np.float32)
    for at in np.flatnonzero(pc.is_valid(column).to_numpy() & ~np.isfinite(narrow)):
        refused[int(at)] = f"`value` is {wide[at]}; a finite number is needed"
    return narrow


def _read_contexts(column: Any, refused: dict[int, str]) -> NDArray[np.object_]:
    ones = column.to_pylist()
    try:
        texts = _shared.decode(["null" if one is None else one for one in ones])
        return np.fromiter(texts, dtype=object, count=len(ones))
    except Exception:
        return _contexts_one_by_one(ones, refused)  # which also reads structs


def _contexts_one_by_one(ones: list[Any], refused: dict[int, str]) -> NDArray[np.object_]:
    out = np.full(len(ones), None, dtype=object)
    for at, one in enumerate(ones):
        try:
            if one is not None:
                out[at] = _contexts.decode(one) if isinstance(one, str) else msgspec.convert(one, dict[str, Scalar])
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            refused[at] = f"`context`: {error}"
    return out
