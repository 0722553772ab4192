"""Item prior: an item's share of its node's traffic, as counted and as the model expects it.

The order inside nodes (`hsnn.trainer.retrieval.inverted_lists`) needs one number per item that is the same for all
users. Counts alone say nothing about a new item, and ignore what the model has learned; so the prior is the geometric
mean of both:

    log prior = 1/2 log(count + 0.05) + 1/2 expected score - decay since the item's last engagement

The expected score is that of the mean user, for the item's state as of its last engagement: a function of state and
model only, so it changes only when the item does, and decays by the same factor as all others when read later.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters

# Engagements added to every item's count: the log of an item that was never engaged with stays finite.
_UNSEEN = 0.05

ExpectedScores = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]
"""Expected scores (n,) of item rows (n,) with state features (n, F)."""


def log_item_prior(
    states: ItemCounters, rows: NDArray[np.int64], half_life: int, origin: int, expect: ExpectedScores
) -> NDArray[np.float64]:
    """Compute the log prior of `rows`, up to a term common to all items, (n,); -inf for rows without a sign of life.

    Examples
    --------
    >>> states = ItemCounters()
    >>> states.add_engagements(np.array([0, 0, 1]), np.array([1, 1, 1]), np.ones(3, np.float32))
    >>> prior = log_item_prior(states, np.array([0, 1]), 0, 1, lambda rows, features: np.zeros(len(rows), np.float32))
    >>> round(float(np.exp(2 * (prior[0] - prior[1]))), 2)  # (2 + 0.05) / (1 + 0.05)
    1.95
    """
    last = states.last[rows]
    counts = states.values[rows, half_life].astype(np.float64) + _UNSEEN
    expected = expect(rows, states.features(rows, last, half_life)).astype(np.float64)
    # Later engagements have decayed less: all items are compared as of `origin`, whatever the time of reading.
    decay = (last - origin) * (np.log(2) / HALF_LIVES[half_life])
    return np.where(last > 0, (np.log(counts) + expected) / 2 + decay, -np.inf)
