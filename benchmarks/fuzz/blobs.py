"""Hostile bytes around good events: damaged Arrow, schema prefixes, compression."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from hsnn.streaming.decode.json_event import strip_schema_id
from hsnn.streaming.schema.arrow import read_interactions, write_interactions
from hsnn.streaming.schema.columns import ArrowError, is_arrow

Event = dict[str, Any]
Maker = Callable[[Event, random.Random], bytes]


def arrow(event: Event, rng: random.Random, rows: int | None = None) -> bytes:
    """A good Arrow record of some interactions."""
    count = rng.randint(1, 40) if rows is None else rows
    ts = [event["ts"] + at for at in range(count)]
    items = [f"i{rng.randrange(500)}" for _ in range(count)]
    return write_interactions(
        ts, [event["user"]] * count, items, ["click"] * count, id=[f"{event['id']}-{at}" for at in range(count)]
    )


def arrow_rows_wrong(event: Event, rng: random.Random) -> bytes:
    """Some rows without a user, of an impossible time, with an endless item."""
    count = rng.randint(1, 20)
    ts = [rng.choice((event["ts"], -1, 2**62)) for _ in range(count)]
    users = [rng.choice((event["user"], "", "x" * 300)) for _ in range(count)]
    return write_interactions(ts, users, ["i1"] * count, ["click"] * count, value=[float("inf")] * count)


def arrow_cut(event: Event, rng: random.Random) -> bytes:
    whole = arrow(event, rng)
    return whole[: rng.randrange(8, len(whole))]


def arrow_flipped(event: Event, rng: random.Random) -> bytes:
    damaged = bytearray(arrow(event, rng))
    for _ in range(rng.randint(1, 6)):
        damaged[rng.randrange(8, len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def arrow_columns(event: Event, rng: random.Random) -> bytes:
    odd: list[Any] = [
        {"ts": [1]},
        {"ts": ["a"], "user": ["u"], "item": ["i"], "action": ["c"]},
        {},
        {"ts": [1.5], "user": [1], "item": [2], "action": [3]},
        {"ts": [1], "user": [[1]], "item": ["i"], "action": ["c"]},
        {"ts": [None], "user": [None], "item": [None], "action": [None]},
        {"ts": [event["ts"]], "user": ["u"], "item": ["i"], "action": ["c"], "context": ["{broken"]},
    ]
    table, sink = pa.table(rng.choice(odd)), pa.BufferOutputStream()
    writer = rng.choice((pa.ipc.new_stream, pa.ipc.new_file))
    with writer(sink, table.schema) as out:
        out.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def wrong_magic(_: Event, rng: random.Random) -> bytes:
    return rng.choice(
        (b"ARROW1", b"\xff\xff\xff\xff", b"ARROW1\0\0", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"PAR1", b"Obj\x01")
    ) + rng.randbytes(rng.randrange(60))


def prefixed(event: Event, rng: random.Random) -> bytes:
    behind = rng.choice(
        (rng.randbytes(30), b"", b"{", arrow_cut(event, rng), json.dumps(event).encode(), arrow(event, rng, 2))
    )
    return b"\0" + rng.randbytes(rng.choice((0, 3, 4))) + behind


def compressed(event: Event, rng: random.Random) -> bytes:
    packed = rng.choice((partial(gzip.compress, mtime=0), zlib.compress, bz2.compress))  # gzip would write the hour
    whole: bytes = packed(json.dumps(event).encode())
    return rng.choice((whole, whole[: len(whole) // 2], whole + b"{}"))


MAKERS: tuple[Maker, ...] = (
    arrow,
    arrow_rows_wrong,
    arrow_cut,
    arrow_flipped,
    arrow_columns,
    wrong_magic,
    prefixed,
    compressed,
)


def events_of(value: bytes | None) -> int:
    """How many engagement events a record is: the rows of a readable Arrow record, one of anything else."""
    bare = None if value is None else strip_schema_id(value)
    if bare is None or not is_arrow(bare):
        return 1
    try:
        return len(read_interactions(bare).ts)
    except ArrowError:
        return 1
