"""The portrait of a version: what it was made of, how its items lie in the nodes, how old it is, what it weighs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest

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
    parts = reader.parts(number)
    deltas: list[Any] = [reader.redis.xlen(part.deltas) for part in parts]
    memory = {reader.key("version", number): _memory(reader, [reader.key("version", number)])}
    for part in parts:
        memory |= {name: _memory(reader, [name]) for name in (part.items, part.ends, part.deltas)}
        memory[f"{part.leaves}:*"] = _memory(reader, part.all_leaves(manifest.nodes))
    return Portrait(
        manifest,
        reader.current() == number,
        sizes_of(nodes[nodes >= 0], manifest.nodes),
        sum(deltas),
        time.time() - manifest.created_at / 1000,
        memory,
    )


def _memory(reader: IndexReader, names: Sequence[str]) -> int:
    """Bytes of some keys of one shard; those that do not exist have none."""
    pipeline = reader.redis.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name, samples=_SAMPLES)
    return sum(int(found or 0) for found in pipeline.execute())
