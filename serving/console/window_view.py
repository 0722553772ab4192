"""The page *Stream*: what the trainer remembers of the stream to join impressions and to find duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.batch_builder import DUPLICATE, NOT_JOINED
from hsnn.streaming.consumer.dedup import MAX_KEYS

# Interactions and impressions are remembered apart, so many of each.
_MOST_KEYS = 2 * MAX_KEYS


def windows(progress: Mapping[str, Any], config: StreamingConfig) -> dict[str, Any]:
    """Describe joiner and deduplication; ``joiner`` is None if no task is configured, ``dedup`` if it is switched off.

    Parameters
    ----------
    progress
        Of the trainer; figures that it has not written are 0.
    config
        The one that server and trainer share.

    Examples
    --------
    >>> progress = {"dropped": {"duplicate": 3}, "windows": {"event_keys": 40, "event_key_bytes": 8000}}
    >>> found = windows(progress, StreamingConfig(dedup_window=60))
    >>> found["joiner"], found["dedup"]
    (None, {'window': 60.0, 'most': 2000000, 'keys': 40, 'bytes': 8000, 'duplicates': 3})
    """
    sizes, dropped = progress.get("windows") or {}, progress.get("dropped") or {}
    joiner = {
        "tasks": config.tasks,
        "window": config.attribution_window,
        "capacity": config.joiner_capacity,
        "impressions": progress.get("impressions", 0),
        "pending": progress.get("pending", 0),
        "shown_items": sizes.get("shown_items", 0),
        "waiting_actions": sizes.get("waiting_actions", 0),
        "labelled": sizes.get("labelled", 0),
        "labelled_early": sizes.get("labelled_early", 0),
        "late_actions": sizes.get("late_actions", 0),
    }
    dedup = {
        "window": config.dedup_window,
        "most": _MOST_KEYS,
        "keys": sizes.get("event_keys", 0),
        "bytes": sizes.get("event_key_bytes", 0),
        "duplicates": dropped.get(DUPLICATE, 0),
    }
    return {
        "joiner": joiner if config.tasks else None,
        "not_joined": dropped.get(NOT_JOINED, 0),
        "dedup": dedup if config.dedup_window else None,
    }
