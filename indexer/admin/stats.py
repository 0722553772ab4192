"""Statistics of a version: what it was made of, how evenly its items are spread, its age and its memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest
from hsnn.trainer.snapshot_chunks import chunk_keys

# Fields or entries whose size Redis measures; the size of the others is extrapolated from them.
_MEMORY_SAMPLES = 1000


class NodeSizeStats(NamedTuple):
    """How evenly items are spread: largest size and standard deviation over the mean, nodes without items."""

    items: int
    nodes: int
    max_over_mean: float
    std_over_mean: float
    dead: int


class VersionStats(NamedTuple):
    """A version now; `age` in seconds since it was made, `memory` in bytes by key, of all that it needs."""

    manifest: VersionManifest
    current: bool
    sizes: NodeSizeStats
    deltas: int
    age: float
    memory: dict[str, int]

    @property
    def bytes_per_item(self) -> float:
        """Bytes in Redis for each indexed item."""
        return sum(self.memory.values()) / max(self.sizes.items, 1)


def node_size_stats(nodes: NDArray[np.integer], count: int) -> NodeSizeStats:
    """Compute statistics of the sizes of `count` nodes, from the nodes (n,) of the items.

    Examples
    --------
    >>> node_size_stats(np.array([0, 0, 0, 1]), 4)
    NodeSizeStats(items=4, nodes=4, max_over_mean=3.0, std_over_mean=1.224744871391589, dead=2)
    """
    sizes = np.bincount(nodes, minlength=count)  # (count,)
    mean = max(float(sizes.mean()), 1e-9)
    return NodeSizeStats(
        items=len(nodes),
        nodes=len(sizes),
        max_over_mean=float(sizes.max(initial=0)) / mean,
        std_over_mean=float(sizes.std()) / mean,
        dead=int((sizes == 0).sum()),
    )


def node_sizes(reader: IndexReader, number: int) -> NDArray[np.int64]:
    """Count the items per node of a version by its item map, (K,).

    Raises
    ------
    VersionNotFoundError
        There is no such version.
    """
    count = reader.manifest(number).nodes
    nodes = np.fromiter(reader.item_nodes(number).values(), np.int64)  # (items,)
    return np.bincount(nodes, minlength=count)


def version_stats(reader: IndexReader, number: int) -> VersionStats:
    """Compute the statistics of a version from its manifest, its item map and the memory of its keys.

    Raises
    ------
    VersionNotFoundError
        There is no such version.
    """
    manifest = reader.manifest(number)
    nodes = np.fromiter(reader.item_nodes(number).values(), np.int64)  # (items,)
    shards, hash_key = reader.shards(number), reader.key("version", number)
    deltas: list[Any] = [reader.redis.xlen(shard.delta_stream) for shard in shards]
    memory = {hash_key: _memory(reader, [hash_key])}
    head: Any = reader.redis.hgetall(hash_key)
    memory[reader.key("chunk", manifest.snapshot, "*")] = _memory(reader, chunk_keys(head))
    for shard in shards:
        memory |= {name: _memory(reader, [name]) for name in (shard.item_map, shard.expiry_set, shard.delta_stream)}
        memory[f"{shard.leaf_prefix}:*"] = _memory(reader, shard.leaf_keys(manifest.nodes))
    return VersionStats(
        manifest=manifest,
        current=reader.current() == number,
        sizes=node_size_stats(nodes[nodes >= 0], manifest.nodes),
        deltas=sum(deltas),
        age=time.time() - manifest.created_at / 1000,
        memory=memory,
    )


def _memory(reader: IndexReader, names: Sequence[str]) -> int:
    """Sum up the bytes of keys; those that do not exist have none."""
    pipeline = reader.redis.pipeline(transaction=False)
    for name in names:
        pipeline.memory_usage(name, samples=_MEMORY_SAMPLES)
    return sum(int(size or 0) for size in pipeline.execute())
