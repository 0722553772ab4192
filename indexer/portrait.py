"""The portrait of a version: what it was made of, how its items lie in the nodes, how old it is, what it weighs."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.reader import IndexReader
from indexer.version import VersionManifest

_SAMPLES = 1000  # fields or entries whose sizes are measured; the rest is taken to be like them


class Sizes(NamedTuple):
    """How evenly the items lie: fullest node over the mean, standard deviation over the mean, nodes without items."""

    items: int
    nodes: int
    max_over_mean: float
    std_over_mean: float
    dead: int


class Portrait(NamedTuple):
    """A version now; `age` in seconds since it was made, `memory` in bytes by key, for all that belongs to it alone."""

    manifest: VersionManifest
    current: bool
    sizes: Sizes
    deltas: int
    age: float
    memory: dict[str, int]

    @property
    def bytes_per_item(self) -> float:
        """Bytes in Redis for each indexed item."""
        return sum(self.memory.values()) / max(self.sizes.items, 1)


def sizes_of(nodes: NDArray[np.integer], count: int) -> Sizes:
    """Sizes of `count` nodes that hold items of nodes (n,).

    Examples
    --------
    >>> sizes_of(np.array([0, 0, 0, 1]), 4)
    Sizes(items=4, nodes=4, max_over_mean=3.0, std_over_mean=1.224744871391589, dead=2)
    """
    sizes = np.bincount(nodes, minlength=count)  # (count,)
    mean = max(float(sizes.mean()), 1e-9)
    return Sizes(
        len(nodes), len(sizes), float(sizes.max(initial=0)) / mean, float(sizes.std()) / mean, int((sizes == 0).sum())
    )


def node_sizes(reader: IndexReader, number: int) -> NDArray[np.int64]:
    """Items per node of a version by its item map, (K,).

    Raises
    ------
    VersionGoneError
        There is no such version.
    """
    count = reader.manifest(number).nodes
    nodes = np.fromiter(reader.item_nodes(number).values(), np.int64)  # (items,)
    return np.bincount(nodes, minlength=count)


def portrait(reader: IndexReader, number: int) -> Portrait:
    """Look at a version: its manifest, its item map, and the memory of its keys.

    Raises
    ------
    VersionGoneError
        There is no such version.
    """
    manifest = reader.manifest(number)
    nodes = np.fromiter(reader.item_nodes(number).values(), np.int64)  # (items,)
    deltas: Any = reader.redis.xlen(reader.key("deltas", number))
    names = [reader.key(part, number) for part in ("version", "items", "deltas")]
    return Portrait(
        manifest, reader.current() == number, sizes_of(nodes, manifest.nodes), int(deltas),
        time.time() - manifest.created_at / 1000, {name: _memory(reader, name) for name in names},
    )  # fmt: skip


def _memory(reader: IndexReader, name: str) -> int:
    found: Any = reader.redis.memory_usage(name, samples=_SAMPLES)
    return int(found or 0)
