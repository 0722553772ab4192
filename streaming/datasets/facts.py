"""Statistics of a data set: counts, times, arrivals and departures of items."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsnn.streaming.datasets.base import Dataset


def dataset_statistics(data: Dataset) -> dict[str, Any]:
    """Compute statistics of a data set.

    Returns
    -------
    dict
        ``events`` (interactions + impressions), ``interactions``, ``impressions``, ``users``, ``items``, ``actions``
        (per name), ``first`` and ``last`` (epoch ms), ``hours``, ``arrivals`` (items first engaged after the first
        fifth of the events), ``departures`` (items without an engagement in the last fifth) and ``expire_after_idle``
        (seconds or None).
    """
    times = data.event_times()
    cut = [int(times[len(times) * k // 5]) if len(times) else 0 for k in (1, 4)]
    last = _last_seen(data)
    actions, counts = np.unique(np.array(data.engagements.action, dtype=str), return_counts=True)
    shown = data.impressions
    return {
        "events": len(data),
        "interactions": len(data.engagements),
        "impressions": 0 if shown is None else len(shown),
        "users": len(set(data.engagements.user) | set(() if shown is None else shown.user)),
        "items": len(data.items),
        "actions": dict(zip(actions.tolist(), counts.tolist(), strict=True)),
        "first": int(times[0]) if len(times) else None,
        "last": int(times[-1]) if len(times) else None,
        "hours": round(float(times[-1] - times[0]) / 3_600_000, 1) if len(times) else 0.0,
        "arrivals": sum(item.ts >= cut[0] for item in data.items),
        "departures": sum(ts < cut[1] for ts in last.values()),
        "expire_after_idle": data.expire_after_idle,
    }


def _last_seen(data: Dataset) -> dict[str, int]:
    last = dict(zip(data.engagements.item, data.engagements.ts.tolist(), strict=True))
    if data.impressions is not None:
        for items, ts in zip(data.impressions.items, data.impressions.ts.tolist(), strict=True):
            for item in items:
                last[item] = max(ts, last.get(item, ts))
    return last
