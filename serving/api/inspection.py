"""What a mirror can tell of itself and of one item."""

from __future__ import annotations

from typing import Any

from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR


def summary(mirror: Mirror) -> dict[str, Any]:
    """Version, position and sizes, as JSON values.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.lock:
        world = mirror.state
        world.alive()
        return {
            "version": world.index.version,
            "epoch": mirror.epoch,
            "events": world.events,
            "watermark": world.watermark,
            "items": world.corpus,
            "indexed": len(world.index.leaves),
            "nodes": world.index.config.leaves,
            "users": len(world.users.ids),
            "beam": world.index.config.beam,
            "budget": world.index.config.budget,
            "popularity_half_life_hours": HALF_LIVES[world.half_life] / HOUR,
        }


def describe(mirror: Mirror, item: str) -> dict[str, Any] | None:
    """Where an item is, whether it may be returned, its state and features; None for an unknown id.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.lock:
        world = mirror.state
        row = world.items.ids.row(item)
        if row < 0:
            return None
        indexed, alive, dead_at = world.index.is_indexed(row), world.alive(), int(world.items.unavailable_from[row])
        counts = world.states.counts(slice(row, row + 1), world.watermark)[0].tolist()
        return {
            "id": item,
            "indexed": indexed,
            "retrievable": row < len(alive) and bool(alive[row]),
            "node": int(world.index.leaves.node_of[row]) if indexed else None,
            "expires_at": dead_at if 0 < dead_at < NEVER else None,
            "deleted": bool(world.items.deleted_at[row]),
            "features": dict(world.items.features.features.get(row, {})),
            "state": {
                "first": int(world.states.first[row]),
                "last": int(world.states.last[row]),
                "counts": {f"{half / HOUR:g}h": count for half, count in zip(HALF_LIVES, counts, strict=True)},
            },
            "version": world.index.version,
            "as_of": world.watermark,
        }
