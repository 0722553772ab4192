"""A version of N planted items, published as the scheduler does and loaded as the server does, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.churn.planted_data import PlantedData
from benchmarks.publish.stopwatch import Stopwatch
from hsnn.indexer.assign.assigner import Assigner, snapshot_encoder
from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.indexer.assign.catalogue_sync import catch_up
from hsnn.indexer.build.builder import BuiltBase, build_base, make_manifest
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.publish.redis_writer import RedisWriter

RULES = PlacementRules(over_mean=4.0, floor=64)


class Publication:
    """Hands a snapshot of a world out, makes a version of it, flips to it, and loads it into a mirror.

    Attributes
    ----------
    clock : seconds of each step
    manifest, base, items, mirror : what was made
    """

    def __init__(self, world: PlantedData, items: int, writer: RedisWriter, store: IndexStore) -> None:
        block = world.new_items(items, 0.0)
        world.fit(block.vectors)
        source = {
            "snapshot": writer.next_snapshot(),
            "epoch": writer.epoch,
            "checkpoint": "planted",
            "state_id": writer.state_id,
            "feed_id": writer.feed_id,
        }
        writer.write_snapshot(world.snapshot(source, block, np.zeros(items, np.bool_)))
        self._store, self._snapshot = store, source["snapshot"]
        self.clock = Stopwatch()
        self.manifest: VersionManifest
        self.base: IndexBase
        self.items: ItemColumns
        self.mirror = Mirror()

    def publish(self) -> None:
        """All steps."""
        clock, store = self.clock, self._store
        with clock.of("read the snapshot"):
            snapshot = store.load_snapshot(self._snapshot)
            catalogue = ItemCatalogue(snapshot)
        with clock.of("encode and assign"):
            assigner = Assigner(snapshot, snapshot_encoder(snapshot), rules=RULES)
            made: BuiltBase = build_base(catalogue, assigner)
        self.base, self.items = made.base, ItemColumns(catalogue.ids, catalogue.expires_at)
        reason = "benchmark"
        self.manifest = make_manifest(
            snapshot.manifest, store.allocate_version(), made, assigner, reason=reason, shards=store.shard_count
        )
        with clock.of("write"):
            store.write_unpublished(self.manifest, self.base, self.items)
        with clock.of("flip"):
            old = store.current()
            catch_up(catalogue, store)
            store.flip(self.manifest.version, old, "" if old is None else store.last_delta_id(old))
        with clock.of("read into a mirror"):
            version = store.load_version(self.manifest.version)
        with clock.of("index in the mirror"):
            self.mirror.load_version(version)

    def report(self) -> dict[str, Any]:
        """Seconds by step and together."""
        return {"seconds": self.clock.seconds, "total": sum(self.clock.seconds.values())}
