"""Signals of the items: what arrives and leaves, what is engaged with, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

# Items whose share of a window says how concentrated popularity is: about a page of recommendations.
_MOST_POPULAR = 10

# Windows back that an item's share is compared with: a burst within minutes stands out longer than an alarm must last,
# and an item that becomes popular over hours does not.
_BACK = 4

# Most popular items of a window that are remembered: the share of any other one is close to none.
_REMEMBERED = 64

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
    # Of news ten items have most of the events anyway, and one has a quarter: a burst moves neither share much.
    Signal(
        name="items_rise",
        meaning=f"largest gain of an item's share in the events over that of {_BACK} windows before",
        worse="up",
        floor=0.02,
        detector="page_hinkley",  # a burst is a rise for as many windows only
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
    """Sums over the window; engagements per item are counted by row, and compared with those of windows before."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._items: list[int] = []
        self._shares: list[dict[int, float]] = []  # of the most popular items of the last windows, oldest first

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
        items, times = np.unique(np.array(self._items, np.int64), return_counts=True)
        order = np.lexsort((items, -times))[:_REMEMBERED]
        shares = dict(zip(items[order].tolist(), (times[order] / max(times.sum(), 1)).tolist(), strict=True))
        found: dict[str, Value] = {
            "items_arrivals": sums.share("changed", "events"),
            "items_departures": sums.share("deleted", "events"),
            "items_concentration": sum(list(shares.values())[:_MOST_POPULAR]),
            "items_rise": self._rise(shares),
            "items_unseen_share": sums.share("unseen", "events"),
            "items_age": sums.share("ages", "aged"),
            "items_featureless": sums.share("featureless", "changed"),
            "items_features_each": sums.share("features", "described"),
        }
        sums.clear()
        self._items = []
        return found

    def _rise(self, shares: dict[int, float]) -> float:
        """Return the largest gain of a share since `_BACK` windows, and remember the shares of this one."""
        rise = float("nan")
        if len(self._shares) == _BACK:
            rise = max((share - self._shares[0].get(item, 0.0) for item, share in shares.items()), default=rise)
        self._shares = [*self._shares, shares][-_BACK:]
        return rise

    def state_dict(self) -> dict[str, Any]:
        """Return the open window, and the shares before it."""
        shares = [[[item, share] for item, share in window.items()] for window in self._shares]
        return {"sums": self._sums.state_dict(), "items": list(self._items), "shares": shares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state["sums"])
        self._items = [int(item) for item in state["items"]]
        self._shares = [  # younger than the others
            {int(item): float(share) for item, share in window} for window in state.get("shares", [])
        ]


GROUP = GroupDeclaration(ItemSignals, SIGNALS)
