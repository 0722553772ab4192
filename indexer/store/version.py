"""Version: a snapshot of the model together with the index that was made from it, under one number."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.messages import Snapshot


class VersionManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Describes what a version was made of and what it held when it was published.

    Attributes
    ----------
    version, epoch, snapshot, checkpoint
        Its number, the trainer's incarnation, and the snapshot and checkpoint that it was made from.
    events, watermark
        Position of the snapshot in the log: engagements learned, event time in ms.
    created_at
        Wall time, ms.
    items, rows, nodes
        Indexed items and known rows of the base (deltas not counted), nodes K of the level.
    config_digest
        Digest of the trainer's configuration.
    state_id
        Entry of the state stream after which a mirror of this version continues reading.
    reason
        ``first``, ``snapshot``, ``alarm:KIND``, ...
    shards
        Shards whose keys belong to the version.
    moved, common
        Items that are in another node than in the version before, of those in both versions; 0 of 0 if that is of
        another epoch.
    spilled
        Items whose nearest node was full.
    over_mean, floor
        Bound on the size of its nodes, deltas included, see `hsnn.indexer.assign.capacity.PlacementRules`; `over_mean`
        0 = none.
    generation
        Rebalances of the trainer's nodes so far: see `hsnn.trainer.training.commands`.
    """

    version: int
    epoch: int
    snapshot: int
    checkpoint: str
    events: int
    watermark: int
    created_at: int
    items: int
    rows: int
    nodes: int
    config_digest: str
    state_id: str
    reason: str
    shards: tuple[int, ...] = (0,)
    moved: int = 0
    common: int = 0
    spilled: int = 0
    over_mean: float = 0.0
    floor: int = 0
    generation: int = 0


@dataclass(frozen=True, slots=True)
class IndexBase:
    """The index of a version when it was written, by the trainer's rows; the version's deltas change it from then on.

    Attributes
    ----------
    vectors : (rows, W) float32
        Static vectors of all known items, indexed or not (user histories refer to both); last column = item bias.
    nodes : (rows,) int32
        Node of every item, -1 = not indexed.
    representatives : (K,) int32
        Row of each node's representative item, -1 = none.
    """

    vectors: NDArray[np.float32]
    nodes: NDArray[np.int32]
    representatives: NDArray[np.int32]

    def encode(self) -> dict[bytes, bytes]:
        """Make the fields of the version's hash: raw little-endian numbers. The vectors are stored in the leaves."""
        return {
            b"nodes": self.nodes.astype("<i4", copy=False).tobytes(),
            b"representatives": self.representatives.astype("<i4", copy=False).tobytes(),
        }

    @classmethod
    def decode(cls, fields: dict[bytes, bytes], vectors: NDArray[np.float32]) -> IndexBase:
        """Read what `encode` wrote and combine it with vectors (rows, W); the arrays are writable copies."""
        nodes = np.frombuffer(fields[b"nodes"], "<i4").astype(np.int32)
        representatives = np.frombuffer(fields[b"representatives"], "<i4").astype(np.int32)
        return cls(vectors, nodes, representatives)


@dataclass(frozen=True, slots=True)
class Version:
    """All that a mirror starts from: deltas are read from the beginning, states after `manifest.state_id`."""

    manifest: VersionManifest
    snapshot: Snapshot
    index: IndexBase
