"""Hostile records among the engagements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import numpy as np
import pyarrow as pa

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import TRAINER
from benchmarks.chaos.watch import Sign, grows

# bytes that ten rows of a bomb unpack to, each; bytes of an event that is too large, which a broker takes
_BOMB_BYTES, _LARGE_BYTES = 30 << 20, 1_000_000
# records of one disruption at most: few beside the traffic
_MOST = 5


class Poison(Disruption):
    """A few records that nobody can read: each is one dead letter."""

    def __init__(self, make: Callable[[Random], bytes], kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self._values = [make(random) for _ in range(random.randint(1, _MOST))]

    def signs(self) -> Sequence[Sign]:
        return (grows(TRAINER, 'hsnn_events_total{outcome="dead_lettered"}'),)

    def strike(self) -> None:
        self.scene.traffic.send_poison(self._values)

    def durations(self) -> tuple[float, float]:
        return (0.0, 0.0)


def bomb(_: Random) -> bytes:
    """Return an Arrow record of some kB that unpacks to 300 MB."""
    columns = {"ts": np.full(10, 5), "user": ["u"] * 10, "item": ["a"] * 10, "action": ["click"] * 10}
    table = pa.table({**columns, "extra": pa.array(["x" * _BOMB_BYTES] * 10, pa.large_string())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def garbage(random: Random) -> bytes:
    """Return bytes that are no event."""
    return random.randbytes(random.randint(1, 2000))


def large(_: Random) -> bytes:
    """Return an event with an id of nearly 1 MB."""
    return b'{"type": "interaction", "ts": 1, "user": "u", "item": "' + b"x" * (_LARGE_BYTES - 100) + b'"}'


def deep(random: Random) -> bytes:
    """Return JSON of a great depth."""
    depth = random.randint(1000, 100_000)
    return b"[" * depth + b"]" * depth


def variants(_: Scene) -> list[Variant]:
    """List one per kind of record."""
    kinds = {"Arrow bombs": bomb, "garbage": garbage, "events of 1 MB": large, "deep JSON": deep}
    return [(f"poison: {name}", partial(partial(Poison, make), f"poison: {name}")) for name, make in kinds.items()]
