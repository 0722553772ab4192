"""The whole system in one process, driven by stream time: learner, scheduler's catalogue, mirror.

Nothing here learns, assigns or retrieves by itself. It passes messages between the components of production, in the
order of a healthy system, so that a run is reproducible.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner, snapshot_encoder
from hsnn.indexer.assign.capacity import NEAREST_NODE, PlacementRules
from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.indexer.assign.live_index import LiveIndex
from hsnn.indexer.build.builder import build_base, make_manifest
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.version import Version
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.messages import Feed, StateDelta
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch, StepReport

# Epoch of the trainer before any row was recycled; 0 is the epoch of an empty mirror.
_FIRST_EPOCH = 1


class LearnResult(NamedTuple):
    """Outcome of learning one batch.

    Attributes
    ----------
    report : StepReport
    state : StateDelta
        Item and user states that changed.
    deltas : list of Delta
        Items inserted, moved and deleted in the version in use.
    new_version : bool
        Whether a version was published.
    """

    report: StepReport
    state: StateDelta
    deltas: list[Delta]
    new_version: bool


class OfflineSystem:
    """One learner, one catalogue, one mirror.

    Parameters
    ----------
    config
        Of the trainer.
    snapshot_every : float
        Stream seconds between versions.
    snapshot_events : int
        Events between versions, at least, however much stream time has passed.
    rules
        Rules of placement; by default each item goes to its nearest node.

    Attributes
    ----------
    learner : Learner
    mirror : Mirror
    versions : int
        Number of versions published.
    arrived, expired : int
        Items inserted into and deleted from the index between versions.
    """

    def __init__(
        self, config: TrainerConfig, snapshot_every: float, snapshot_events: int, rules: PlacementRules = NEAREST_NODE
    ) -> None:
        self.learner = Learner(config)
        self.mirror = Mirror()
        self.versions = 0
        self.expired = self.arrived = 0
        self._every, self._events = snapshot_every * 1000, snapshot_events
        self._last = (-float("inf"), -(10**18))  # watermark and events of the last version: long ago
        self._rules = rules
        self._catalogue: ItemCatalogue | None = None
        self._live: LiveIndex | None = None

    @property
    def epoch(self) -> int:
        """Epoch of the trainer; changes whenever rows are recycled, which gives them to other items."""
        return _FIRST_EPOCH + self.learner.recycled

    def prepare(self, batch: Batch) -> PreparedBatch:
        """Prepare a batch; its queries may now be put to the mirror."""
        return self.learner.prepare(batch)

    def learn(self, prepared: PreparedBatch) -> LearnResult:
        """Learn a prepared batch, then update the catalogue and the mirror."""
        report = self.learner.train(prepared)
        state = self.learner.delta(self.epoch)
        self.mirror.apply_state(state)
        if self._catalogue is not None:
            self._catalogue.apply_feed(Feed(self.epoch, prepared.feed))
            self._catalogue.apply_state_delta(state)
        new_version = self._version_due()
        if new_version:
            self._publish()
        return LearnResult(report, state, self._maintain(), new_version)

    def _version_due(self) -> bool:
        time, events = self.learner.watermark - self._last[0], self.learner.events - self._last[1]
        due = time >= self._every and events >= self._events
        doubled = self.learner.events < self._events and events >= self._last[1]  # a young model is another by then
        return self._rows_recycled() or (self.learner.network.seeded and (due or doubled))

    def _rows_recycled(self) -> bool:
        """Whether rows of the version in use have been given to other items."""
        return self._catalogue is not None and self._catalogue.epoch != self.epoch

    def _publish(self) -> None:
        self._last = (self.learner.watermark, self.learner.events)
        self.versions += 1
        snapshot = make_snapshot(self.learner, SnapshotOrigin(self.versions, self.epoch, "offline"))
        recycled = self._rows_recycled()
        self._catalogue = ItemCatalogue(snapshot)
        assigner = Assigner(snapshot, snapshot_encoder(snapshot), rules=self._rules)
        before = None if self._live is None or recycled else self._live.nodes
        made = build_base(self._catalogue, assigner, before)
        manifest = make_manifest(snapshot.manifest, self.versions, made, assigner, reason="snapshot")
        self._live = LiveIndex(self.versions, assigner, made.base.nodes, made.preferred)
        self.mirror.load_version(Version(manifest, snapshot, made.base))

    def _maintain(self) -> list[Delta]:
        """Update the index with arrived, changed and expired items, as the scheduler's jobs do."""
        if self._live is None or self._catalogue is None:
            return []
        deltas = self._live.pending_deltas(self._catalogue)
        self._live.apply(deltas)
        self._catalogue.mark_announced([delta.row for delta in deltas])
        for delta in deltas:
            self.mirror.apply_delta(delta)
        self.expired += sum(delta.op == "delete" for delta in deltas)
        self.arrived += sum(delta.op == "insert" for delta in deltas)
        return deltas

    def sizes(self) -> NDArray[np.int64]:
        """Items per node of the index, (K,)."""
        return np.zeros(0, np.int64) if self._live is None else self._live.node_sizes()
