"""The snapshot of a learner: the model and all states at one position of the log, as readers need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from trainer.arrays import Array
from trainer.catalogue import all_ids
from trainer.wire import Snapshot, SnapshotManifest

if TYPE_CHECKING:
    from trainer.learner import Learner


class Origin(NamedTuple):
    """What a snapshot says of itself beside the learner's state; see `trainer.wire.SnapshotManifest`."""

    snapshot: int
    epoch: int
    checkpoint: str = ""
    state_id: str = "0-0"
    feed_id: str = "0-0"
    config_digest: str = ""


def snapshot_of(learner: Learner, origin: Origin) -> Snapshot:
    """Copy the model and all states."""
    items, users = len(learner.items), len(learner.users)
    manifest = SnapshotManifest(
        **origin._asdict(), events=learner.events, watermark=learner.watermark, half_life=learner.half_life,
        model=learner.config.model.model_dump(mode="json"), expire_after_idle_ms=learner.idle_ms,
        generation=learner.steering.generation,
    )  # fmt: skip
    by_item: dict[str, Array] = {
        "embeddings": learner.network.items.ids.weight, "tokens": learner.items.tokens, "values": learner.states.values,
        "last": learner.states.last, "first": learner.states.first,
        "expires_at": learner.items.expires_at, "deleted": learner.items.deleted,
    }  # fmt: skip
    if learner.config.model.cross:
        pairs = learner.covisitation
        by_item |= {
            "neighbours": pairs.neighbours, "weights": pairs.weights, "totals": pairs.totals, "paired": pairs.last
        }  # fmt: skip
    by_user: dict[str, Array] = {
        "items": learner.histories.items, "times": learner.histories.times, "tokens": learner.users.tokens
    }  # fmt: skip
    return Snapshot(
        manifest=manifest,
        model=learner.network.weights(),
        items={name: array[:items].copy() for name, array in by_item.items()},
        users={name: array[:users].copy() for name, array in by_user.items()},
        item_ids=all_ids(learner.items),
        user_ids=all_ids(learner.users),
        features=list(learner.items.features),
    )
