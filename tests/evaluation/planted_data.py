"""A data set with planted clusters: users of cluster c click items of cluster c."""

from __future__ import annotations

import numpy as np

from hsnn.streaming.datasets.base import Dataset
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Item

START = 1_700_000_000_000
CLUSTERS, PER_CLUSTER = 6, 20


def planted(events: int = 4000, *, step: int = 1000, users: int = 60, seed: int = 0, drifting: bool = False) -> Dataset:
    """Clicks of users on items of their cluster; with `drifting`, new items replace half of the catalogue over time."""
    rng = np.random.default_rng(seed)
    user_numbers = rng.integers(users, size=events)
    item_numbers = np.minimum(rng.geometric(0.12, events) - 1, PER_CLUSTER - 1)
    if drifting:
        item_numbers += PER_CLUSTER // 2 * (np.arange(events) * 6 // events)
    items = [f"c{user % CLUSTERS}-{place}" for user, place in zip(user_numbers, item_numbers, strict=True)]
    return dataset_of_clicks([f"u{user}" for user in user_numbers], items, START + step * (1 + np.arange(events)))


def dataset_of_clicks(users: list[str], items: list[str], ts: np.ndarray) -> Dataset:
    """A data set of exactly these clicks."""
    count = len(users)
    first = {}
    for index, name in enumerate(items):
        first.setdefault(name, Item(id=name, ts=int(ts[index]) - 1, features={"topic": name.partition("-")[0]}))
    ts = ts.astype(np.int64)
    clicks = Engagements(
        ts, ts.copy(), users, items, ["click"] * count, np.full(count, np.nan, np.float32), [None] * count
    )
    return Dataset("planted", clicks, list(first.values()), [], {}, np.arange(count))
