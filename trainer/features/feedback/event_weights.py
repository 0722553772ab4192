"""Engagements as training examples: how much each counts, and for or against its item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Engagements
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.feedback.actions import ActionTable
from hsnn.trainer.features.feedback.repeat_counts import Engagement, RepeatCounts
from hsnn.trainer.features.feedback.value_ranks import ValueRanks

# Times within about a day that a user's doing the same with an item is learned in full: habits are worth learning, and
# 1/n from the first repeat on cost a quarter of the hits in a simulated world of few users with strong habits.
_IN_FULL = 16

# Share of the values of an action below which a rating has less weight, in proportion: one and two stars of films.
_LOW_SHARE = 0.125

# Least weight of a rating: what a user rates low is still what the user chose.
_LEAST = 0.1


class EventWeights(NamedTuple):
    """EventWeights of n engagements; all weights are finite and not negative.

    Attributes
    ----------
    weights : (n,) float32
        In the loss. The n-th time within about a day that a user does the same with an item has 16/n of the weight, at
        most all of it, and the n-th time within a batch 1/n of that. A low rating has a part, from a tenth on.
    counted : (n,) float32
        In the counters, which say what everybody likes: 1/n² of the weight, so that one user adds less than 1.65 to an
        item.
    undamped : (n,) float32
        In the loss, as if there were no repeats.
    disliked : (n,) bool
        Whether the example is against the item.
    """

    weights: NDArray[np.float32]
    counted: NDArray[np.float32]
    undamped: NDArray[np.float32]
    disliked: NDArray[np.bool_]


class Feedback:
    """Reads what engagements say; part of the learner's state.

    Attributes
    ----------
    repeats : RepeatCounts
    ranks : ValueRanks
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._actions = ActionTable(config)
        self.repeats, self.ranks = RepeatCounts(), ValueRanks(self._actions.rated)

    def read(self, events: Engagements, users: NDArray[np.int64], items: NDArray[np.int64]) -> EventWeights:
        """Read engagements (n,) of user rows (-1 for none) with item rows, in order, and count them."""
        actions = self._actions.read(events.action)
        without = np.flatnonzero(users < 0)
        known = users.copy()
        known[without] = _stand_ins([events.user[index] for index in without.tolist()])
        before, within = self.repeats.count(Engagement(known, items, actions.codes, events.ts))
        times = 1 + before
        ranks = self.ranks.update(np.where(events.repeat, -1, actions.rated), events.value)
        low = ranks < _LOW_SHARE  # NaN, for no rating, is not low
        undamped = actions.weights * np.where(low, np.maximum(ranks / _LOW_SHARE, _LEAST), 1).astype(np.float32)
        return EventWeights(
            weights=(undamped * np.minimum(1, _IN_FULL / times) / (1 + within)).astype(np.float32),
            counted=undamped / times**2,
            undamped=undamped,
            disliked=actions.disliked,
        )


def _stand_ins(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return a number below -1 for each id of a user without a row."""
    return np.array([-2 - crc32(name.encode()) for name in ids], np.int64)
