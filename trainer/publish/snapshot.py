"""Take a snapshot of a learner: the model and all served state at one position of the log."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hsnn.trainer.features.catalogue import copy_ids
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.table import TableKind
from hsnn.trainer.training.state import LearnerState


class SnapshotOrigin(NamedTuple):
    """The fields of a manifest that do not come from the learner; see `hsnn.trainer.messages.SnapshotManifest`."""

    snapshot: int
    epoch: int
    checkpoint: str = ""
    state_id: str = "0-0"
    feed_id: str = "0-0"
    config_digest: str = ""


def make_snapshot_manifest(learner: LearnerState, origin: SnapshotOrigin) -> SnapshotManifest:
    """Make the manifest of a snapshot of the learner as it is now."""
    return SnapshotManifest(
        **origin._asdict(),
        events=learner.events,
        watermark=learner.watermark,
        half_life=learner.half_life,
        total=learner.states.total,
        total_at=learner.states.total_at,
        index_share=learner.index_recall.share,
        model=learner.config.model.model_dump(mode="json"),
        expire_after_idle_ms=learner.idle_ms,
        departed_to=learner.departures.now,
        expiry_confirmed=learner.departures.confirmed,
        mass_expiry_share=learner.config.catalogue.mass_expiry_share,
        generation=learner.commanded.generation,
        exclusion=learner.exclusion,
    )


def make_snapshot(learner: LearnerState, origin: SnapshotOrigin) -> Snapshot:
    """Copy the model and all served state."""
    served: dict[TableKind, dict[str, Array]] = {TableKind.ITEM: {}, TableKind.USER: {}}
    for table in learner.tables:
        if table.served:
            served[table.kind] |= table.served_rows(np.arange(table.rows()))
    return Snapshot(
        manifest=make_snapshot_manifest(learner, origin),
        model=learner.network.weights(),
        items=served[TableKind.ITEM],
        users=served[TableKind.USER],
        item_ids=copy_ids(learner.items),
        user_ids=copy_ids(learner.users),
        features=list(learner.items.features),
    )
