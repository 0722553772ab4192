"""Hostile JSON, and what looks like it: one maker per way of being wrong, each from a good event and a generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Maker = Callable[[Event, random.Random], bytes]

_ODD_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    "",
    " ",
    "\x00",
    "7",
    [],
    {},
    [1],
    {"a": 1},
    [None],
    "x" * 300,
    2**31,
    2**63,
    -(2**63) - 1,
    2**64,
    10**30,
    "\U0001f600" * 100,
    "\u202e\u0000",
    "NaN",
)
_NUMBERS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"9" * 400,
    b"-" + b"9" * 5000,
    b"1." + b"3" * 2000,
    b"0x10",
    b"1_000",
    b"01",
    b"+1",
    b".5",
    b"1e",
    b"--1",
)
_ESCAPES = (
    rb"\ud800",
    rb"\udfff\ud800",
    rb"\u0000",
    rb"\uZZZZ",
    rb"\x41",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\x01",
    b"\n",
)


def _dump(event: Event) -> bytes:
    return json.dumps(event).encode()


def _with(event: Event, name: str, raw: bytes) -> bytes:
    """The event with a field whose value is written as these bytes, whatever they are."""
    return _dump({**event, name: "@@"}).replace(b'"@@"', raw)


def random_bytes(_: Event, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 2, 5, 6, 40, 300)))


def cut(event: Event, rng: random.Random) -> bytes:
    whole = _dump(event)
    return whole[: rng.randrange(len(whole))]


def flipped(event: Event, rng: random.Random) -> bytes:
    damaged = bytearray(_dump(event))
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def spliced(event: Event, rng: random.Random) -> bytes:
    whole = _dump(event)
    at, to = sorted(rng.randrange(len(whole)) for _ in range(2))
    return whole[:at] + rng.choice((b"", whole, b"{}", b",", b'"', b"\\", b"}")) + whole[to:]


def deep(event: Event, rng: random.Random) -> bytes:
    depth = rng.choice((10, 100, 900, 1100, 20_000))
    nested = rng.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))
    return rng.choice((nested, _with(event, rng.choice(("context", "value", "unknown", "user")), nested)))


def huge_id(event: Event, rng: random.Random) -> bytes:
    name = rng.choice(("id", "user", "item", "impression", "action", "type"))
    size = rng.choice((255, 256, 257, 1000, 20_000))
    return _with(
        event, name, rng.choice((b'"' + b"x" * size + b'"', b"9" * size, '"{}"'.format("\u00e9" * size).encode()))
    )


def wrong_type(event: Event, rng: random.Random) -> bytes:
    return _dump({**event, rng.choice((*event, "value", "impression", "context", "features")): rng.choice(_ODD_VALUES)})


def missing(event: Event, rng: random.Random) -> bytes:
    gone = rng.choice(list(event))
    return _dump({name: value for name, value in event.items() if name != gone})


def number(event: Event, rng: random.Random) -> bytes:
    return _with(event, rng.choice(("ts", "value", "id", "user", "item")), rng.choice(_NUMBERS))


def time(event: Event, rng: random.Random) -> bytes:
    now = event["ts"]
    odd = (
        -1,
        0,
        now // 1000,
        now * 1000,
        -now,
        253_402_300_799_999,
        253_402_300_800_000,
        now + 40 * 86_400_000,
        now - 400 * 86_400_000,
    )
    return _dump({**event, "ts": rng.choice((*odd, 2**63 - 1, 2**63, -(2**63), float(now), str(now)))})


def twice(event: Event, rng: random.Random) -> bytes:
    name = rng.choice(list(event))
    again = json.dumps({name: rng.choice((*_ODD_VALUES, event[name]))}).encode()
    return _dump(event)[:-1] + b"," + again[1:]


def text(event: Event, rng: random.Random) -> bytes:
    name = rng.choice(("user", "item", "action", "id", "impression", "unknown"))
    return _with(event, name, b'"a' + rng.choice(_ESCAPES) + b'b"')


def encoding(event: Event, rng: random.Random) -> bytes:
    odd = json.dumps({**event, "user": "J\u00fcrgen \u20ac"}, ensure_ascii=False)
    return odd.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "cp1252", "utf-16-le", "utf-7")))


def context(event: Event, rng: random.Random) -> bytes:
    odd: Any = rng.choice(
        (
            {f"key {at}": rng.choice(_ODD_VALUES[:12]) for at in range(rng.choice((50, 300)))},
            {"k" * 5000: "v" * 5000},
            {"": ""},
            {"a": {"b": 1}},
            {"\ud800": 1},
            [["a", 1]],
            {"a": 1e308},
        )
    )
    return _dump({**event, "context": odd})


def kind(event: Event, rng: random.Random) -> bytes:
    odd = rng.choice(("item", "user", "impression", "Interaction", "interaction ", "end", "", "\u0000", "__class__"))
    return _dump({**event, "type": odd, "items": rng.choice(([], ["a"], ["a"] * 1000, ["a"] * 1001, [None], "a"))})


def no_object(event: Event, rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"null",
            b"[]",
            b"7",
            b'"text"',
            b"true",
            b"{}",
            b"{}{}",
            b"",
            b" ",
            b"\xef\xbb\xbf{}",
            b"[" + _dump(event) + b"]",
        )
    )


MAKERS: tuple[Maker, ...] = (
    random_bytes,
    cut,
    flipped,
    spliced,
    deep,
    huge_id,
    wrong_type,
    missing,
    number,
    time,
    twice,
    text,
    encoding,
    context,
    kind,
    no_object,
)
