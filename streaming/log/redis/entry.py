"""Entries of the Redis Streams that are an event log.

A topic's partition is the stream ``hsnn:log:{topic:partition}``. ``XADD key 0-*`` numbers its entries 0-1, 0-2, ...
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

_PLACES = 10 ** np.arange(12, -1, -1)

_headers_encoder = msgspec.msgpack.Encoder()
_headers_decoder = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


def stream_key(topic: str, partition: int) -> str:
    """Name the stream of a topic's partition; the braces keep it in one slot of a Redis Cluster.

    Examples
    --------
    >>> stream_key("engagements", 3)
    'hsnn:log:{engagements:3}'
    """
    return f"hsnn:log:{{{topic}:{partition}}}"


def encode_entry(record: ProducerRecord, now: int) -> list[Any]:
    """Write a record as the fields of an entry; `now` (epoch ms) is its time if it brings none."""
    fields: list[Any] = ["t", now if record.sent_at is None else record.sent_at]
    if record.value is not None:
        fields += ("v", record.value)
    if record.key is not None:
        fields += ("k", record.key)
    if record.headers:
        fields += ("h", _headers_encoder.encode(record.headers))
    return fields


def entry_offset(entry_id: bytes) -> int:
    """Offset of an entry: ``0-1`` is the first, offset 0."""
    return int(entry_id[entry_id.index(b"-") + 1 :]) - 1


def decode_entries(position: Position, first: int, entries: list[Any]) -> RecordBatch:
    """Read entries as the server sends them, id and fields; `first` is the offset of the first one."""
    offsets = np.arange(first, first + len(entries))
    fields = [entry[1] for entry in entries]
    if set(map(len, fields)) == {6}:
        t, times, v, values, k, keys = zip(*fields, strict=True)
        if (set(t), set(v), set(k)) == ({b"t"}, {b"v"}, {b"k"}):  # as the log itself writes them
            return RecordBatch(position, offsets, keys, values, [()] * len(entries), _times(times))
    named: list[dict[bytes, bytes]] = [dict(zip(one[::2], one[1::2], strict=False)) for one in fields]
    headers = [_headers(one[b"h"]) if b"h" in one else () for one in named]
    return RecordBatch(
        position,
        offsets,
        [one.get(b"k") for one in named],
        [one.get(b"v") for one in named],
        headers,
        _times([one.get(b"t", b"") for one in named]),
    )


def _times(texts: Sequence[bytes]) -> NDArray[np.int64]:
    """Epoch ms, (n,); 0 where an entry that another program appended says something else."""
    joined = b"".join(texts)
    if set(map(len, texts)) == {len(_PLACES)} and joined.isdigit():  # from 2001 to 2286
        digits = np.frombuffer(joined, np.uint8).reshape(-1, len(_PLACES)) - ord("0")  # (n, 13)
        return digits @ _PLACES
    return np.array([int(text) if len(text) < 17 and text.isdigit() else 0 for text in texts], np.int64)


def _headers(blob: bytes) -> Headers:
    try:
        return _headers_decoder.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()  # of another program
