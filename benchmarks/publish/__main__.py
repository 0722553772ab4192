"""What publishing a version of N items costs, what one operation on it costs, and what it weighs in Redis.

    make bench ARGS='publish'
    python -m benchmarks.publish --items 10000 100000 1000000 --bare 10000000 --shards 1 --json FILE

Planted items (`benchmarks/churn/planted_data.py`), the embedded server, one thread. `--bare` sizes have the index
alone, with random vectors and without a snapshot: some 6 GB for 10 million items. Writes `results/publish.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.arguments import positive
from benchmarks.churn.memory import resident
from benchmarks.churn.planted_data import PlantedData
from benchmarks.paths import RESULTS_FOLDER
from benchmarks.publish.index_only import bare
from benchmarks.publish.operations import Operations
from benchmarks.publish.pipelines import compared
from benchmarks.publish.version import Publication
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.admin.stats import version_stats
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.redis.client import connect
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.threads import use_threads

RESULTS = RESULTS_FOLDER / "publish.json"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    use_threads(1)
    found: dict[str, Any] = {"cores": os.cpu_count(), "shards": options.shards, "items": {}, "bare": {}}
    for items in options.items:
        found["items"][str(items)] = measured(items, options.shards, options.seed)
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    for items in options.bare:
        found["bare"][str(items)] = bare(items, options.shards, options.seed)
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(options.json.read_text("utf-8"))


def measured(items: int, shards: int, seed: int = 0) -> dict[str, Any]:
    """All figures of one size."""
    with EmbeddedRedis() as server:
        redis = connect(server.url, socket_timeout=600)
        lease = Lease(redis, 3600, shard_count=shards)
        assert lease.acquire()
        store, world = IndexStore(redis, lease), PlantedData(items, 100, seed)
        publication = Publication(world, items, RedisWriter(redis), store)
        before = resident()
        publication.publish()
        found = {"publish": publication.report(), "leaves": publication.manifest.nodes}
        found["memory"] = _memory(store, publication.manifest.version, items)
        found["memory"]["publisher_and_mirror_bytes_per_item"] = (resident() - before) / items
        found["write"] = compared(publication, store)
        found["operations"] = Operations(publication, world, store).report()
        return found


def _memory(store: IndexStore, version: int, items: int) -> dict[str, Any]:
    """Bytes per item, by kind of key, of the version alone; the copy of the snapshot is in the key of the version."""
    kinds: dict[str, float] = {}
    for name, size in version_stats(store, version).memory.items():
        kind = name.split(":")[2]
        kinds[kind] = kinds.get(kind, 0.0) + size / items
    return {"bytes_per_item": kinds, "total": sum(kinds.values())}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Publish planted items.")
    parser.add_argument(
        "--items", type=positive, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes; 10,000 to 1,000,000"
    )
    parser.add_argument("--bare", type=positive, nargs="*", default=[], help="sizes to measure without a snapshot")
    parser.add_argument("--shards", type=positive, default=1, help="of the index; 1")
    parser.add_argument("--seed", type=int, default=0, help="of the items; 0")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
