"""Encoding of records as entries of Redis Streams.

A partition of a topic is the stream ``hsnn:log:{topic:partition}``. ``XADD key 0-*`` numbers its entries 0-1, 0-2, ...
without gaps, so that entry ``0-(n + 1)`` has offset n. An entry has the fields ``v`` (value; left out for a deletion),
``k`` (key; left out if there is none), ``h`` (headers, msgpack; left out if there are none), ``t`` (sent at, epoch ms).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.records import Headers, Position, RecordBatch

# Place values of the digits of epoch ms with 13 digits, which are the years 2001 to 2286.
_PLACE_VALUES = 10 ** np.arange(12, -1, -1)

_headers_encoder = msgspec.msgpack.Encoder()
_headers_decoder = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


def stream_key(topic: str, partition: int) -> str:
    """Build the key of a partition's stream; the braces keep it in one slot of a Redis Cluster.

    Examples
    --------
    >>> stream_key("engagements", 3)
    'hsnn:log:{engagements:3}'
    """
    return f"hsnn:log:{{{topic}:{partition}}}"


def encode_entry(record: ProducerRecord, now: int) -> list[Any]:
    """Encode a record as the fields of an entry; `now` (epoch ms) stands in for a missing `sent_at`."""
    fields: list[Any] = ["t", now if record.sent_at is None else record.sent_at]
    if record.value is not None:
        fields += ("v", record.value)
    if record.key is not None:
        fields += ("k", record.key)
    if record.headers:
        fields += ("h", _headers_encoder.encode(record.headers))
    return fields


def entry_offset(entry_id: bytes) -> int:
    """Return the offset of an entry from its id: ``0-1`` has offset 0."""
    return int(entry_id[entry_id.index(b"-") + 1 :]) - 1


def decode_entries(position: Position, first: int, entries: list[Any]) -> RecordBatch:
    """Decode entries as the server sends them, (id, fields); `first` is the offset of the first one."""
    offsets = np.arange(first, first + len(entries))
    fields = [entry[1] for entry in entries]
    if set(map(len, fields)) == {6}:
        t, times, v, values, k, keys = zip(*fields, strict=True)
        # The order in which this log writes records without headers: no dict per entry is needed.
        if (set(t), set(v), set(k)) == ({b"t"}, {b"v"}, {b"k"}):
            return RecordBatch(
                position,
                offsets=offsets,
                keys=keys,
                values=values,
                headers=[()] * len(entries),
                sent_at=_parse_times(times),
            )
    named: list[dict[bytes, bytes]] = [dict(zip(entry[::2], entry[1::2], strict=False)) for entry in fields]
    return RecordBatch(
        position,
        offsets=offsets,
        keys=[entry.get(b"k") for entry in named],
        values=[entry.get(b"v") for entry in named],
        headers=[_decode_headers(entry[b"h"]) if b"h" in entry else () for entry in named],
        sent_at=_parse_times([entry.get(b"t", b"") for entry in named]),
    )


def _parse_times(texts: Sequence[bytes]) -> NDArray[np.int64]:
    """Parse epoch ms, (n,); 0 where an entry of another program holds something else."""
    joined = b"".join(texts)
    if set(map(len, texts)) == {len(_PLACE_VALUES)} and joined.isdigit():
        digits = np.frombuffer(joined, np.uint8).reshape(-1, len(_PLACE_VALUES)) - ord("0")  # (n, 13)
        return digits @ _PLACE_VALUES
    return np.array([int(text) if len(text) < 17 and text.isdigit() else 0 for text in texts], np.int64)


def _decode_headers(blob: bytes) -> Headers:
    try:
        return _headers_decoder.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()  # an entry of another program
