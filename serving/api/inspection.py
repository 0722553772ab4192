"""Inspection of a mirror: summary, and description of one item."""

from __future__ import annotations

from typing import Any

from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR


def summary(mirror: Mirror) -> dict[str, Any]:
    """Summarise version, position in the stream and sizes, as JSON values.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.lock:
        state = mirror.state
        state.alive()
        return {
            "version": state.index.version,
            "epoch": mirror.epoch,
            "events": state.events,
            "watermark": state.watermark,
            "items": state.corpus,
            "indexed": len(state.index.leaves),
            "nodes": state.index.config.leaves,
            "users": len(state.users.ids),
            "beam": state.index.config.beam,
            "budget": state.index.config.budget,
            "popularity_half_life_hours": HALF_LIVES[state.half_life] / HOUR,
        }


def describe(mirror: Mirror, item: str) -> dict[str, Any] | None:
    """Describe node, availability, state and features of an item as JSON values; None for an unknown id.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.lock:
        state = mirror.state
        row = state.items.ids.row(item)
        if row < 0:
            return None
        indexed, alive, expiry = state.index.is_indexed(row), state.alive(), int(state.items.unavailable_from[row])
        counts = state.states.counts(slice(row, row + 1), state.watermark)[0].tolist()
        return {
            "id": item,
            "indexed": indexed,
            "retrievable": row < len(alive) and bool(alive[row]),
            "node": int(state.index.leaves.node_of[row]) if indexed else None,
            "expires_at": expiry if 0 < expiry < NEVER else None,
            "deleted": bool(state.items.deleted_at[row]),
            "features": dict(state.items.features.features.get(row, {})),
            "state": {
                "first": int(state.states.first[row]),
                "last": int(state.states.last[row]),
                "counts": {f"{half / HOUR:g}h": count for half, count in zip(HALF_LIVES, counts, strict=True)},
            },
            "version": state.index.version,
            "as_of": state.watermark,
        }
