"""STAN: session kNN aware of sequence and time (Garg et al., 2019).

Three decays: of an item with its place in the current session, of a neighbour with its age, and of a neighbour's item
with its distance from the newest shared item there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import BaselineDeclaration
from hsnn.evaluation.baselines.session_knn import SessionKnnBaseline, add_up

# Nearest sessions that vote.
NEIGHBOURS = 500

# Places over which the weight of an item of the current session falls by the factor e; as in the paper.
SESSION_DECAY = 1.02

# Places over which the vote for a neighbour's item falls by the factor e; as in the paper.
DISTANCE_DECAY = 2.05

# Hours over which a neighbour's similarity falls by the factor e, and the half-life in hours of the popularity that
# orders what got no vote: from news to a shop.
AGES = {120.0: 24.0, 2.0: 0.25, 24.0: 4.0, 1440.0: 168.0}

# By distance; the last one stands for all that are farther.
_DISTANCE_WEIGHTS = np.exp(-np.arange(64) / DISTANCE_DECAY)

# Milliseconds per hour.
_HOUR = 3_600_000


class StanBaseline(SessionKnnBaseline):
    """STAN, updated with every batch."""

    name = "stan"
    settings = tuple(f"{hours:g}h" for hours in AGES)
    fallbacks = tuple(AGES.values())
    votes_of = tuple(range(len(AGES)))

    def votes(
        self, items: NDArray[np.int64], now: int, own: int, rows: int, *, which: Sequence[int] | None = None
    ) -> list[NDArray[np.float64]]:
        """Let the neighbours vote, at every decay with age."""
        (candidates,) = self.candidates(items, [np.exp(-np.arange(len(items)) / SESSION_DECAY)], own)
        similarity = candidates.similarity / np.sqrt(np.maximum(self.sessions.lengths(candidates.sessions), 1))
        age = np.maximum(now - self.sessions.last_times(candidates.sessions), 0) / _HOUR
        votes = []
        for hours in [hours for at, hours in enumerate(AGES) if which is None or at in which]:
            near = candidates.nearest(NEIGHBOURS, similarity * np.exp(-age / hours))
            theirs, places = self.sessions.items(near.sessions), self.sessions.places(near.sessions)
            shared = (theirs == items[near.nearest_place - 1, None]).argmax(1)  # (n,): where the newest shared item is
            distance = np.abs(places - np.take_along_axis(places, shared[:, None], 1))
            weights = near.similarity[:, None] * _DISTANCE_WEIGHTS[np.minimum(distance, len(_DISTANCE_WEIGHTS) - 1)]
            votes.append(add_up(theirs, weights, rows))
        return votes


BASELINES = (BaselineDeclaration("stan", lambda _: StanBaseline(), counting=True),)
