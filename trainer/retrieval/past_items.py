"""Past items of one user that are left out, compiled.

The plain counterpart is `hsnn.trainer.features.exclusion.excluded_items`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled
from hsnn.trainer.features.user_memory import DISLIKED, SECOND
from hsnn.trainer.messages import ExclusionRule
from hsnn.trainer.retrieval.leaf_scan import Rows

# Age of what is remembered where nothing is forgotten, ms: more than all of time.
_FOR_EVER = 1 << 62


def remembered_since(keep_ms: int | None, now: int) -> int:
    """Return the time, epoch ms, from before which nothing is remembered at `now`.

    Examples
    --------
    >>> remembered_since(1000, 5000), remembered_since(None, 5000) < 0
    (4000, True)
    """
    return -_FOR_EVER if keep_ms is None else now - keep_ms


class PastItemsRule(NamedTuple):
    """An exclusion rule at the time of a request.

    Attributes
    ----------
    every : bool
        All past items are left out.
    recent : int
        Or so many last distinct ones,
    since : int
        and those since this time, epoch ms.
    remembered_since : int
        What is remembered from before this time is forgotten, epoch ms.
    """

    every: bool
    recent: int
    since: int
    remembered_since: int

    @classmethod
    def at(cls, rule: ExclusionRule, now: int) -> PastItemsRule:
        """Make the rule of a request at `now`, epoch ms."""
        recent = rule.rule == "recent"
        kept = remembered_since(rule.keep_ms, now)
        return cls(rule.rule == "seen", rule.items if recent else 0, now - rule.time_ms if recent else _FOR_EVER, kept)


@compiled
def past_items(rule: PastItemsRule, items: NDArray[np.int32], times: Rows, memory: NDArray[Any]) -> Rows:
    """Return the rows of the items that are left out, ascending.

    Parameters
    ----------
    rule
    items, times : (L,)
        History, newest last, -1 where there is none, and epoch ms.
    memory : (n,)
        Entries of `hsnn.trainer.features.user_memory.UserMemory.entries_of`, oldest first: older than the history.
    """
    length, count, distinct = len(items), 0, 0
    out = np.empty(length + len(memory), np.int64)
    for at in range(length + len(memory) - 1, -1, -1):  # newest first: an item counts where it was last
        of_history = at >= len(memory)
        row = np.int64(items[at - len(memory)] if of_history else memory[at]["item"])
        time = np.int64(times[at - len(memory)] if of_history else memory[at]["time"] * np.int64(SECOND))
        if row < 0 or (not of_history and time < rule.remembered_since):
            continue
        disliked = not of_history and memory[at]["flags"] & DISLIKED != 0
        repeated = False
        for later in range(max(at + 1 - len(memory), 0), length):
            repeated |= items[later] == row
        if of_history:
            for entry in memory:
                if entry["item"] == row and entry["time"] * np.int64(SECOND) >= rule.remembered_since:
                    disliked |= entry["flags"] & DISLIKED != 0
        if repeated:
            continue
        distinct += 1
        if rule.every or disliked or distinct <= rule.recent or time >= rule.since:
            place = count
            while place > 0 and out[place - 1] > row:
                out[place] = out[place - 1]
                place -= 1
            out[place] = row
            count += 1
    return out[:count]
