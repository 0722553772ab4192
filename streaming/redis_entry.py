"""Entries of the Redis Streams that are an event log.

A topic's partition is the stream ``hsnn:log:{topic:partition}``. ``XADD key 0-*`` numbers its entries 0-1, 0-2, ...
without gaps, so that entry ``0-(n + 1)`` has offset n. An entry has the fields ``v`` (value; left out for a deletion),
``k`` (key; left out if there is none), ``h`` (headers, msgpack; left out if there are none), ``t`` (sent at, epoch ms).
"""

from __future__ import annotations

from typing import Any

import msgspec

from streaming.log import Outgoing, Record

# A NamedTuple's own constructor takes twice as long, and there is one per record.
_new = tuple.__new__

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


def fields_of(record: Outgoing, now: int) -> list[Any]:
    """Write a record as the fields of an entry; `now` (epoch ms) is its time if it brings none."""
    fields: list[Any] = ["t", now if record.sent_at is None else record.sent_at]
    if record.value is not None:
        fields += ("v", record.value)
    if record.key is not None:
        fields += ("k", record.key)
    if record.headers:
        fields += ("h", _headers_encoder.encode(record.headers))
    return fields


def offset_of(entry_id: bytes) -> int:
    """Offset of an entry: ``0-1`` is the first, offset 0."""
    return int(entry_id[entry_id.index(b"-") + 1 :]) - 1


def records_of(topic: str, partition: int, first: int, entries: list[Any]) -> list[Record]:
    """Read entries as the server sends them, id and fields; `first` is the offset of the first one."""
    # The common shape, t v k, is read by place, and without a call.
    return [
        _new(Record, (topic, partition, at, f[5], f[3], (), int(f[1])))
        if len(f) == 6 and f[2] == b"v" and f[4] == b"k" and f[0] == b"t" and f[1].isdigit() and len(f[1]) < 17
        else _record_of(topic, partition, at, f)
        for at, (_, f) in enumerate(entries, first)
    ]


def _record_of(topic: str, partition: int, offset: int, fields: list[bytes]) -> Record:
    """Read an entry's fields, names and values in turn, whatever another program has put there."""
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    headers = _headers(named[b"h"]) if b"h" in named else ()
    return Record(topic, partition, offset, named.get(b"k"), named.get(b"v"), headers, _time(named.get(b"t", b"")))


def _time(text: bytes) -> int:
    """Epoch ms; 0 if an entry that another program appended says something else."""
    return int(text) if len(text) < 17 and text.isdigit() else 0


def _headers(blob: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        return _headers_decoder.decode(blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()  # of another program
