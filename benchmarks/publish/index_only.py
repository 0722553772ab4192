"""The index alone, for more items than one process has room for with model, states and snapshot: random vectors."""

from __future__ import annotations

import statistics
import time
from typing import Any

import msgspec
import numpy as np

from benchmarks.publish.stopwatch import Stopwatch
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.store import bulk_load, posting_lists
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.delta import Delta, DeltaOp, pack_vector
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.shards import version_shards
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.redis.client import connect

# numbers of a vector with its bias, and operations that are written at once and one by one
_WIDTH, _MANY, _SINGLE = 33, 2000, 200


def bare(items: int, shards: int, seed: int = 0) -> dict[str, Any]:
    """Seconds to write the parts of a version and to read its leaves, single operations, bytes per item."""
    rng, clock = np.random.default_rng(seed), Stopwatch()
    nodes = 1 << int(np.ceil(np.log2(np.sqrt(10 * items))))
    vectors = rng.standard_normal((items, _WIDTH), dtype=np.float32)
    base = IndexBase(vectors, rng.integers(nodes, size=items, dtype=np.int32), np.zeros(nodes, np.int32))
    ids = [f"i{row}" for row in range(items)]
    ends = np.where(rng.random(items) < 0.5, 2_000_000_000_000, 0)
    with EmbeddedRedis() as server:
        redis = connect(server.url, socket_timeout=600)
        lease = Lease(redis, 3600, shard_count=shards)
        assert lease.acquire()
        store, before = IndexStore(redis, lease), _used(redis)
        with clock.of("write"):
            bulk_load.send_commands(
                redis, bulk_load.version_commands(1, base, ItemColumns(ids, ends), shards=shards, chunk=5000)
            )
        manifest = _manifest(items, nodes, shards)
        redis.hset(store.key("version", 1), mapping={"version": msgspec.json.encode(manifest)})
        per_item = (_used(redis) - before) / items
        with clock.of("read the leaves"):
            leaves = (found for part in version_shards(1, manifest.shards) for _, found in store.leaves(part, manifest))
            read = posting_lists.vectors_by_row(leaves, items, _WIDTH)
        assert np.array_equal(read, vectors)
        return {
            "leaves": nodes,
            "seconds": clock.seconds,
            "bytes_per_item": per_item,
            "operations": {name: _operation(store, items, nodes, name) for name in ("insert", "move", "delete")},
        }


def _operation(store: IndexStore, items: int, nodes: int, op: DeltaOp) -> dict[str, float]:
    """Milliseconds of one delta, microseconds of one among many; half of the items have an end."""
    vector = pack_vector(np.ones(_WIDTH))
    deltas = [
        Delta(
            op,
            epoch=1,
            row=row,
            item=f"i{row}",
            node=-1 if op == "delete" else row % nodes,
            packed=vector,
            expires_at=row % 2,
        )
        for row in range(items, items + _MANY + _SINGLE)
    ]
    times = []
    for delta in deltas[:_SINGLE]:
        began = time.perf_counter()
        store.apply(1, [delta])
        times.append(1000 * (time.perf_counter() - began))
    began = time.perf_counter()
    store.apply(1, deltas[_SINGLE:])
    many = time.perf_counter() - began
    return {"one_ms": statistics.median(times), "many_us": 1e6 * many / _MANY}


def _manifest(items: int, nodes: int, shards: int) -> VersionManifest:
    return VersionManifest(
        version=1,
        epoch=1,
        snapshot=0,
        checkpoint="none",
        events=0,
        watermark=0,
        created_at=0,
        items=items,
        rows=items,
        nodes=nodes,
        config_digest="",
        state_id="0-0",
        reason="benchmark",
        shards=tuple(range(shards)),
    )


def _used(redis: Any) -> int:
    return int(redis.info("memory")["used_memory"])
