"""Arrow encoding of many interactions in one record: an IPC stream (or file) with the JSON field names as columns.

Columns ``ts`` (whole numbers or timestamps), ``user``, ``item``, ``action`` (text); ``value`` (numbers), ``context``
(JSON text, a struct or a map), ``id`` and ``impression`` may be missing, as may ``type``, which must say
``interaction``. Ids are text of any type, whole numbers, also as floats or decimals, UTF-8 bytes, or 16-byte UUIDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hsnn.streaming.schema.arrow_limits import declared_size
from hsnn.streaming.schema.columns import STREAM_MAGIC, ArrowError, InteractionColumns, is_arrow
from hsnn.streaming.schema.contexts import Context, ContextDecoder
from hsnn.streaming.schema.events import LAST_MS, EventType, Scalar
from hsnn.streaming.schema.ids import MAX_ID
from hsnn.streaming.schema.json_array import split_events
from hsnn.streaming.schema.timestamps import wrong_unit

MAX_ROWS = 1_000_000
"""Most interactions in one record: bounds the memory that one record of a hostile producer can take."""

MAX_BYTES = 256 << 20
"""Most bytes that one record may unpack to: a million rows of ordinary texts."""

# Bytes of a view of a text.
_VIEW_BYTES = 16

# Bytes of a file before its stream begins: the magic and padding.
_FILE_HEAD = 8

# Bytes of a UUID, which become its usual text.
_UUID_BYTES = 16

# Characters of an action, as in the JSON schema (`Interaction.action`).
_MAX_ACTION = 64

_cached_decoder: ContextDecoder[str] = ContextDecoder()
_decoder: msgspec.json.Decoder[Context] = msgspec.json.Decoder(Context)


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
    """Encode interactions as one record, which `read_interactions` decodes.

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
        encoded = [None if mapping is None else msgspec.json.encode(mapping).decode() for mapping in context]
        columns["context"] = pa.array(encoded, pa.string())
    for name, texts in (("id", id), ("impression", impression)):
        if texts is not None:
            columns[name] = pa.array(texts, pa.string())
    return _write(pa.table(columns))


def _write(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    out: bytes = sink.getvalue().to_pybytes()
    return out


def extract_row(value: bytes | None, index: int) -> bytes | None:
    """Return one event of a record, as the value of a record of its own; the record's value if it holds just one."""
    # A zero byte and a schema id, as a schema registry's serializers write them, come before the Arrow bytes.
    bare = value[5:] if value is not None and value[:1] == b"\0" else value
    if bare is None:
        return None
    if is_arrow(bare):
        return _write(_table(bare).slice(index, 1))
    events = _json_events(bare)
    return value if events is None else events[index]


# `extract_row` is called for each unusable row of a record, one after the other.
_json_events = lru_cache(maxsize=2)(split_events)


@lru_cache(maxsize=2)
def _table(value: bytes) -> Any:
    # A file is a stream with a list of its messages behind it. It is read as a stream, so that what is bounded here is
    # what is read: the list may name other places.
    stream = value if value[:4] == STREAM_MAGIC else value[_FILE_HEAD:]
    try:
        declared = declared_size(stream)
    except Exception as error:  # pyarrow raises its own, OSError, ValueError, MemoryError, ...
        raise ArrowError(f"not a readable Arrow stream: {type(error).__name__}: {error}") from None
    if declared.rows > MAX_ROWS:
        raise ArrowError(f"the record holds {declared.rows} interactions; at most {MAX_ROWS} are read")
    if declared.bytes > MAX_BYTES:
        raise ArrowError(f"the record unpacks to {declared.bytes} bytes; at most {MAX_BYTES} are read")
    try:
        table = pa.ipc.open_stream(stream).read_all()
        try:
            table.validate(full=True)  # offsets that point outside their buffer would crash the process later
        except pa.ArrowInvalid:  # maybe a text that is no UTF-8, which costs its row only
            table = _texts_as_bytes(table)
            table.validate(full=True)
    except Exception as error:
        raise ArrowError(f"not a readable Arrow stream: {type(error).__name__}: {error}") from None
    return table


def _texts_as_bytes(table: Any) -> Any:
    """Return the same table with columns of text as columns of bytes; nothing is copied or looked at."""
    return pa.table(
        [
            pa.chunked_array([_as_bytes(chunk) for chunk in column.chunks]) if column.num_chunks else column
            for column in table.columns
        ],
        names=table.schema.names,
    )


def _as_bytes(chunk: Any) -> Any:
    if pa.types.is_dictionary(chunk.type):
        return pa.DictionaryArray.from_arrays(chunk.indices, _as_bytes(chunk.dictionary))
    kinds = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    return chunk.view(kinds[chunk.type]) if chunk.type in kinds else chunk


def read_interactions(*values: bytes) -> InteractionColumns:
    """Decode one record, or several of the same schema one after another: much of the cost is per call, not per row.

    Raises
    ------
    ArrowError
        The bytes are damaged, a column is missing or of a wrong type, there are more than `MAX_ROWS` rows in a record,
        it unpacks to more than `MAX_BYTES`, all of them do together, or the schemas differ.
    """
    tables: list[Any] = []
    total = 0
    for value in values:
        tables.append(_table(value))
        total += tables[-1].nbytes
        if len(values) > 1 and total > MAX_BYTES:
            raise ArrowError(f"the records unpack to more than {MAX_BYTES} bytes together; read each alone")
    try:
        table = pa.concat_tables(tables)
    except pa.ArrowException as error:
        raise ArrowError(f"the records have different columns: {error}") from None
    missing = [name for name in ("ts", "user", "item", "action") if table.schema.names.count(name) != 1]
    if missing:
        raise ArrowError(f"columns {', '.join(missing)} must be there once; there are {', '.join(table.schema.names)}")
    try:
        return _read(table, np.array([len(part) for part in tables]))
    except ArrowError:
        raise
    except Exception as error:  # a failed cast, which pyarrow reports in many ways
        raise ArrowError(f"a column has a wrong type: {type(error).__name__}: {error}") from None


def _read(table: Any, lengths: NDArray[np.int64]) -> InteractionColumns:
    rejected: dict[int, str] = {}
    ts = _times(table["ts"], rejected)
    user, item = (_texts(table, name, MAX_ID, rejected) for name in ("user", "item"))
    action = _texts(table, "action", _MAX_ACTION, rejected)
    if "type" in table.schema.names:
        kind = _texts(table, "type", _MAX_ACTION, rejected)
        others = np.flatnonzero(kind != EventType.INTERACTION.value)
        rejected |= {int(i): f"type {kind[i]!r} is not read from Arrow" for i in others}
    optional: dict[str, dict[int, str]] = {name: {} for name in ("value", "context", "id", "impression")}
    value = _values(table, optional["value"])
    context = _read_contexts(table["context"], optional["context"]) if "context" in table.schema.names else None
    ids, impression = (_optional_texts(table, name, optional[name]) for name in ("id", "impression"))
    return InteractionColumns(
        lengths=lengths,
        ts=ts,
        user=user,
        item=item,
        action=action,
        value=value,
        context=context,
        id=ids,
        impression=impression,
        rejected=rejected,
        left_out={(name, row): text for name, rows in optional.items() for row, text in rows.items()},
    )


def _times(column: Any, rejected: dict[int, str]) -> NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms"), safe=False)
    elif not pa.types.is_integer(column.type):
        raise ArrowError(f"`ts` has type {column.type}; write whole milliseconds or timestamps")
    ts: NDArray[np.int64] = column.cast(pa.int64()).fill_null(-1).to_numpy().copy()
    for row in np.flatnonzero((ts < 0) | (ts > LAST_MS)):
        unit = wrong_unit(int(ts[row]))
        rejected[int(row)] = f"`ts` is {ts[row]}: {unit}" if unit else f"`ts` is missing or out of range: {ts[row]}"
    return ts


def _optional_texts(table: Any, name: str, rejected: dict[int, str]) -> NDArray[np.object_] | None:
    """Return the texts of a column that may be missing or hold nulls."""
    if name not in table.schema.names:
        return None
    valid = pc.is_valid(table[name]).to_numpy()
    problems: dict[int, str] = {}
    texts = _texts(table, name, MAX_ID, problems)
    for row, problem in problems.items():
        texts[row] = None
        if valid[row]:
            rejected[row] = problem
    return texts


def _texts(table: Any, name: str, max_length: int, rejected: dict[int, str]) -> NDArray[np.object_]:
    _check_text_bytes(name, table[name])
    column = _as_text(table[name], name)
    unread = pc.and_(pc.is_valid(table[name]), pc.is_null(column)).to_numpy()
    length = pc.utf8_length(column).fill_null(0).to_numpy()
    for row in np.flatnonzero((length < 1) | (length > max_length)):
        size = f"`{name}` has {length[row]} characters; between 1 and {max_length} are allowed"
        rejected[int(row)] = f"`{name}` is neither text in UTF-8 nor a whole number" if unread[row] else size
    texts: NDArray[np.object_] = column.to_numpy().astype(object)
    return texts


def _as_text(column: Any, name: str) -> Any:
    """Return a column of ids as text, null where a value is no id."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):  # whole numbers with gaps, as data frames keep them
        wide = column.cast(pa.float64())
        # Beyond 2**53 a float does not say which whole number was meant.
        whole = pc.and_(pc.equal(pc.floor(wide), wide), pc.less(pc.abs(wide), 2.0**53))
        column = pc.if_else(whole, wide, None).cast(pa.int64())
    elif pa.types.is_fixed_size_binary(kind) and kind.byte_width == _UUID_BYTES:
        texts = [None if value is None else str(UUID(bytes=value)) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts, pa.large_string())])
    elif _is_bytes(kind):
        column = pa.chunked_array([pa.array([_utf8(value) for value in column.to_pylist()], pa.large_string())])
    elif not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
    ):
        raise ArrowError(f"`{name}` has type {kind}; write text or whole numbers")
    return column.cast(pa.large_string())


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _is_text(kind: Any) -> bool:
    """Return whether a type of pyarrow is text, in one of the layouts that there are."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_view(kind: Any) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _check_text_bytes(name: str, column: Any) -> None:
    """Raise an error if the texts of a column are too long together: rows may share one long text.

    They can in a dictionary and by views; in the other layouts every row has bytes of its own.
    """
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            lengths = _value_lengths(chunk.dictionary, name)
            if int(lengths.max(initial=0)) * len(chunk) > MAX_BYTES - total:
                counts = np.bincount(chunk.indices.drop_null().to_numpy(), minlength=len(lengths))
                total += int((lengths * counts[: len(lengths)]).sum())
        elif _is_view(chunk.type):
            total += int(_value_lengths(chunk, name).sum())
    if total > MAX_BYTES:
        raise ArrowError(f"`{name}` holds {total} bytes of text; at most {MAX_BYTES} are read")


def _value_lengths(values: Any, name: str) -> NDArray[np.int64]:
    """Return the bytes of each value (n,), 0 for null and for numbers."""
    kind = values.type
    if _is_view(kind):  # pyarrow has no kernel; each view of 16 bytes begins with its length
        views = np.frombuffer(values.buffers()[1], "<i4")[:: _VIEW_BYTES // 4][values.offset :][: len(values)]
        return np.where(values.is_valid().to_numpy(zero_copy_only=False), views, 0).astype(np.int64)
    if _is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        lengths = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(lengths, np.int64)
    if pa.types.is_fixed_size_binary(kind):
        return np.full(len(values), kind.byte_width, np.int64)
    if not pa.types.is_primitive(kind):
        raise ArrowError(f"`{name}` has values of type {kind}; write text or whole numbers")
    return np.zeros(len(values), np.int64)


def _check_context_type(kind: Any) -> None:
    """Raise an error for columns that may hold more values than bytes, or share them among rows."""
    if pa.types.is_map(kind):
        fields = [kind.key_type, kind.item_type]
    else:
        fields = [field.type for field in kind] if pa.types.is_struct(kind) else [kind]
        # of a struct's dictionaries the texts are counted row by row
        fields = [field.value_type if pa.types.is_dictionary(field) else field for field in fields]
    for field in fields:
        offsets = pa.types.is_list(field) or pa.types.is_large_list(field)  # whose values are not shared
        value = field.value_type if offsets else field
        nulls = pa.types.is_null(value) and not (offsets or pa.types.is_map(kind))
        views = _is_view(value) and (offsets or pa.types.is_map(kind))
        if nulls or pa.types.is_primitive(value) or (_is_text(value) and not views):
            continue
        raise ArrowError(f"`context` has type {kind}; write JSON text, or a struct of texts, numbers and booleans")


def _values(table: Any, rejected: dict[int, str]) -> NDArray[np.float32]:
    if "value" not in table.schema.names:
        return np.full(len(table), np.nan, np.float32)
    column = table["value"].cast(pa.float64())
    wide = column.to_numpy()
    with np.errstate(over="ignore"):
        narrow: NDArray[np.float32] = wide.astype(np.float32)
    for row in np.flatnonzero(pc.is_valid(column).to_numpy() & ~np.isfinite(narrow)):
        rejected[int(row)] = f"`value` is {wide[row]}; a finite number is needed"
        narrow[row] = np.nan
    return narrow


def _read_contexts(column: Any, rejected: dict[int, str]) -> NDArray[np.object_]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        _check_text_bytes("context", column)
        kind = kind.value_type
    if _is_bytes(kind):
        return _read_contexts_of_bytes(column, rejected)
    _check_context_type(kind)
    for part in column.flatten() if pa.types.is_struct(kind) else [column]:
        _check_text_bytes("context", part)
    values = column.to_pylist()
    try:
        texts = _cached_decoder.decode(["null" if value is None else value for value in values])
        return np.fromiter(texts, dtype=object, count=len(values))
    except Exception:
        return _read_contexts_one_by_one(values, rejected)  # slower; finds the invalid rows, and also reads structs


def _read_contexts_of_bytes(column: Any, rejected: dict[int, str]) -> NDArray[np.object_]:
    """Read contexts as JSON in bytes, some of which may be no UTF-8."""
    _check_text_bytes("context", column)
    values = column.to_pylist()
    texts = [_utf8(value) for value in values]
    for row, (value, text) in enumerate(zip(values, texts, strict=True)):
        if value is not None and text is None:
            rejected[row] = "`context` is no text in UTF-8"
    return _read_contexts(pa.chunked_array([pa.array(texts, pa.large_string())]), rejected)


def _read_contexts_one_by_one(values: list[Any], rejected: dict[int, str]) -> NDArray[np.object_]:
    out = np.full(len(values), None, dtype=object)
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):
                out[row] = _decoder.decode(value)
            elif value is not None:  # a struct, or the pairs of a map
                out[row] = msgspec.convert(dict(value), dict[str, Scalar])
        except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as error:
            rejected[row] = f"`context`: {error}"
    return out
