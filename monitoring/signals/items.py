"""Signals of the items: what arrives and leaves, what is engaged with, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

# Items whose share of a window says how concentrated popularity is: about a page of recommendations.
_MOST_POPULAR = 10

# Milliseconds of an hour.
_HOUR = 3_600_000

SIGNALS = (
    Signal(
        name="items_arrivals",
        meaning="items that appeared or changed, per event",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="items_departures", meaning="items that were deleted, per event", worse="up", floor=0.02, seasonal=True
    ),
    Signal(
        name="items_concentration",
        meaning=f"share of the {_MOST_POPULAR} most popular items in the events",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    # Of news ten items have most of the events anyway: a burst of one moves their share little.
    Signal(
        name="items_first_share",
        meaning="share of the most popular item in the events",
        worse="up",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="items_unseen_share",
        meaning="share of events on items without earlier engagement",
        worse="both",
        floor=0.01,
        seasonal=True,
        detector="page_hinkley",  # a new catalogue is soon known
    ),
    Signal(
        name="items_age",
        meaning="mean log of hours since the engaged items were first seen",
        worse="down",
        floor=0.1,
    ),
    Signal(
        name="items_featureless",
        meaning="share of the items that appeared or changed that have no features",
        worse="up",
        floor=0.02,
    ),
    Signal(
        name="items_features_each", meaning="mean number of features of the engaged items", worse="both", floor=0.05
    ),
)


class ItemSignals:
    """Sums over the window; engagements per item are counted by row."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._items: list[int] = []

    def update(self, observation: Observation) -> None:
        """Add a batch."""
        feed, first = observation.feed, observation.first_seen
        ages = np.log1p(np.maximum(observation.ts - first, 0) / _HOUR) * (first > 0)
        self._sums.add(
            events=len(observation.items),
            changed=feed.changed,
            deleted=feed.deleted,
            featureless=feed.featureless,
            ages=ages.sum(),
            aged=len(ages),
            unseen=observation.unseen_items.sum(),
            described=len(observation.item_features),
            features=sum(map(len, observation.item_features)),
        )
        self._items += observation.items.tolist()

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return shares per event."""
        sums = self._sums
        _, times = np.unique(np.array(self._items, np.int64), return_counts=True)
        ranked = np.sort(times)[::-1] / max(times.sum(), 1)
        found: dict[str, Value] = {
            "items_arrivals": sums.share("changed", "events"),
            "items_departures": sums.share("deleted", "events"),
            "items_concentration": float(ranked[:_MOST_POPULAR].sum()),
            "items_first_share": float(ranked[:1].sum()),
            "items_unseen_share": sums.share("unseen", "events"),
            "items_age": sums.share("ages", "aged"),
            "items_featureless": sums.share("featureless", "changed"),
            "items_features_each": sums.share("features", "described"),
        }
        sums.clear()
        self._items = []
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the open window."""
        return {"sums": self._sums.state_dict(), "items": list(self._items)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state["sums"])
        self._items = [int(item) for item in state["items"]]


GROUP = GroupDeclaration(ItemSignals, SIGNALS)
