"""The right action on each planted change, and how often the recommended rule for its first alarm names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hsnn.monitoring.config import Action
from hsnn.monitoring.watching.recommended_rules import recommended_rules

RIGHT: Mapping[str, Action] = {
    # A producer sends what is wrong, and the index cannot know what was meant.
    "broken feature": "notify",
    "unit change": "notify",
    "swapped columns": "notify",
    "label rate": "notify",
    "clock off": "notify",
    "duplicate producer": "notify",
    # The events are what was sent; whether they are wanted, people decide.
    "popularity burst": "notify",
    "bot flood": "notify",
    # The new items are in no version yet.
    "new catalogue": "refresh",
    # The model has to follow.
    "sudden shift": "rates",
    "slow shift": "rates",
    # A factor of rates that somebody set to nothing is nothing; and where no item is assigned, no new nodes are used.
    "frozen trainer": "notify",
    "stale index": "notify",
}


class FirstAlarms(NamedTuple):
    """The first alarms on a change: how many runs each kind was first in, of `runs`, and how often it was right."""

    kinds: dict[str, int]
    right: int
    runs: int


def first_alarms(found: Iterable[Mapping[str, Any]]) -> dict[str, FirstAlarms]:
    """Count the first alarms on each change over runs of the laboratory; a run that missed the change is not right.

    Examples
    --------
    >>> runs = [{"plants": {"slow shift": {"kinds": kinds}}} for kinds in (["model_loss", "items_age"], ["items_age"])]
    >>> first_alarms([*runs, {"plants": {"slow shift": {"kinds": []}}}])
    {'slow shift': FirstAlarms(kinds={'model_loss': 1, 'items_age': 1}, right=1, runs=3)}
    """
    rules, counted = recommended_rules(), dict[str, FirstAlarms]()
    for run in found:
        for change, plant in run["plants"].items():
            before = counted.get(change, FirstAlarms({}, 0, 0))
            first = next(iter(plant["kinds"]), None)
            kinds = before.kinds if first is None else before.kinds | {first: before.kinds.get(first, 0) + 1}
            right = first is not None and rules.get(first) == RIGHT[change]
            counted[change] = FirstAlarms(kinds, before.right + right, before.runs + 1)
    return counted
