"""The snapshot of a learner: the model and all states at one position of the log, as readers need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hsnn.trainer.features.catalogue import all_ids
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.training.tables import tables_of

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

BY_ITEM = {
    "embeddings": "network.items.weight",
    "tokens": "items.tokens",
    "values": "states.values",
    "last": "states.last",
    "first": "states.first",
    "expires_at": "items.expires_at",
    "deleted": "items.deleted",
}
PAIRS = {
    "neighbours": "covisitation.neighbours",
    "weights": "covisitation.weights",
    "totals": "covisitation.totals",
    "paired": "covisitation.last",
}
BY_USER = {"items": "histories.items", "times": "histories.times", "tokens": "users.tokens"}
"""What a snapshot calls the arrays of a checkpoint; `PAIRS` where there are cross features."""


class SnapshotOrigin(NamedTuple):
    """What a snapshot says of itself beside the learner's state; see `hsnn.trainer.messages.SnapshotManifest`."""

    snapshot: int
    epoch: int
    checkpoint: str = ""
    state_id: str = "0-0"
    feed_id: str = "0-0"
    config_digest: str = ""


def manifest_of(learner: Learner, origin: SnapshotOrigin) -> SnapshotManifest:
    """Say what a snapshot of the learner as it is now is."""
    return SnapshotManifest(
        **origin._asdict(),
        events=learner.events,
        watermark=learner.watermark,
        half_life=learner.half_life,
        model=learner.config.model.model_dump(mode="json"),
        expire_after_idle_ms=learner.idle_ms,
        generation=learner.steering.generation,
    )


def snapshot_of(learner: Learner, origin: SnapshotOrigin) -> Snapshot:
    """Copy the model and all states."""
    tables: dict[str, Array] = {}
    for table in tables_of(learner):
        tables |= {name: column()[: table.rows()] for name, column in table.columns.items()}
    by_item = BY_ITEM | (PAIRS if learner.config.model.cross else {})
    return Snapshot(
        manifest=manifest_of(learner, origin),
        model=learner.network.weights(),
        items={name: tables[own].copy() for name, own in by_item.items()},
        users={name: tables[own].copy() for name, own in BY_USER.items()},
        item_ids=all_ids(learner.items),
        user_ids=all_ids(learner.users),
        features=list(learner.items.features),
    )
