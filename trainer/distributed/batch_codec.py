"""Encode batches as bytes for the other workers, and decode them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec
import numpy as np

from hsnn.streaming.schema.batch import Batch, Engagements, LabelledImpressions
from hsnn.streaming.schema.events import ItemEvent, User


class _Fields(msgspec.Struct):
    """The fields of a batch; arrays as (dtype, shape, bytes), positions as (topic, partition, offset)."""

    engagements: dict[str, Any]
    labelled_impressions: dict[str, Any]
    positions: list[tuple[str, int, int]]
    items: list[ItemEvent]
    users: list[User]
    control: list[bytes]
    seen_items: list[tuple[str, int, int]]
    plain: dict[str, Any]


_decoder: msgspec.msgpack.Decoder[_Fields] = msgspec.msgpack.Decoder(_Fields)
_PLAIN = tuple(field.name for field in fields(Batch) if field.name not in _Fields.__struct_fields__)


def encode_batch(batch: Batch) -> bytes:
    """Write a batch as bytes.

    Examples
    --------
    >>> from hsnn.streaming.schema.batch import LabelledImpressions
    >>> nothing = Engagements(np.zeros(0, np.int64), np.zeros(0, np.int64), [], [], [], np.zeros(0, np.float32), [])
    >>> decode_batch(encode_batch(Batch(nothing, {("clicks", 2): 7}, 5, dropped={"duplicate": 1}))).positions
    {('clicks', 2): 7}
    """
    parts = {name: getattr(batch, name) for name in _Fields.__struct_fields__ if name not in ("plain", "positions")}
    positions = [(*position, offset) for position, offset in batch.positions.items()]
    plain = {name: getattr(batch, name) for name in _PLAIN}
    return msgspec.msgpack.encode({**parts, "positions": positions, "plain": plain}, enc_hook=_array)


def decode_batch(blob: bytes) -> Batch:
    """Read `encode_batch` back."""
    read = _decoder.decode(blob)
    engagements, labelled_impressions = (
        {name: _column(value) for name, value in columns.items()}
        for columns in (read.engagements, read.labelled_impressions)
    )
    return Batch(
        engagements=Engagements(**engagements),
        labelled_impressions=LabelledImpressions(**labelled_impressions),
        positions={(topic, partition): offset for topic, partition, offset in read.positions},
        items=read.items,
        users=read.users,
        control=read.control,
        seen_items=read.seen_items,
        **read.plain,
    )


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": (value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())}
    raise TypeError(f"a batch cannot hold {type(value).__name__}")


def _column(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind, shape, blob = value["array"]
    return np.frombuffer(blob, kind).reshape(shape).copy()
