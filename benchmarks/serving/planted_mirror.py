"""Mirrors of a planted catalogue, made without a server: one version, as a trainer and a scheduler would publish it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.churn.planted_data import NOW, PlantedData, Vectors
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.model.item_encoder import Encoder

# Rows whose leaves are assigned at once: bounds the matrix of their distances.
_CHUNK = 16_384


class PlantedCatalogue(NamedTuple):
    """Items (n, d) whose rows begin at `first_row`, queries (users, d), and the version that holds them."""

    vectors: Vectors
    first_row: int
    queries: Vectors
    version: Version

    def mirror(self, *, engine: bool) -> Mirror:
        """Load the version as a server does."""
        mirror = Mirror(engine=engine, double_buffered=True)
        mirror.load_version(self.version)
        return mirror


def plant(items: int, users: int, seed: int) -> PlantedCatalogue:
    """Plant items and users, fit the leaves, and assign the items."""
    world = PlantedData(items, users, seed)
    block = world.new_items(items, 0.0)
    world.fit(block.vectors)
    source = {"snapshot": 1, "epoch": 1, "checkpoint": "planted", "state_id": "0-0", "feed_id": "0-0"}
    snapshot = world.snapshot(source, block, np.zeros(items, np.bool_))
    encoder, tokens = Encoder(world.config, snapshot.model), snapshot.items["tokens"]
    vectors = encoder.vectors(np.zeros((len(tokens), world.config.vector_width), np.float32), tokens)
    chunks = [encoder.assign(vectors[start : start + _CHUNK]) for start in range(0, len(vectors), _CHUNK)]
    nodes = np.concatenate(chunks)
    nodes[: world.first_row] = -1
    manifest = VersionManifest(
        version=1,
        epoch=1,
        snapshot=1,
        checkpoint="planted",
        events=0,
        watermark=NOW,
        created_at=NOW,
        items=items,
        rows=len(nodes),
        nodes=world.config.leaves,
        config_digest="",
        state_id="0-0",
        reason="benchmark",
    )
    base = IndexBase(vectors, nodes, np.full(world.config.leaves, -1, np.int32))
    return PlantedCatalogue(block.vectors, world.first_row, world.queries, Version(manifest, snapshot, base))
