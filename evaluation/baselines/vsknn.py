"""V-SkNN: sessions that share the user's last items vote for their other items (Ludewig and Jannach, 2018).

The weight of an item falls with its place in the current session. A neighbour's similarity is the sum of the weights of
the shared items; it votes with its similarity times the weight of the newest shared item.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import BaselineDeclaration
from hsnn.evaluation.baselines.session_knn import SessionKnnBaseline, add_up

# Nearest sessions that vote.
NEIGHBOURS = 500

# Part of its weight that an item loses with each place under linear decay, as in the paper.
_LINEAR_STEP = 0.1

# Half-lives in hours of the popularity that orders what got no vote.
_FALLBACKS = (24.0, 0.25, 4.0, 168.0)


def linear(places: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weigh places (n,), from 1: 1, 0.9, 0.8, ..."""
    weights: NDArray[np.float64] = np.maximum(1 - _LINEAR_STEP * (places - 1), 0.0)
    return weights


def reciprocal(places: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weigh places (n,), from 1: 1, 1/2, 1/3, ..."""
    weights: NDArray[np.float64] = 1 / places
    return weights


# Weights of the items of the current session, by name.
_WEIGHTINGS = {"reciprocal": reciprocal, "linear": linear}


class VsknnBaseline(SessionKnnBaseline):
    """V-SkNN, updated with every batch."""

    name = "vsknn"
    settings = tuple(f"{weighting}-{hours:g}h" for weighting, hours in product(_WEIGHTINGS, _FALLBACKS))
    fallbacks = _FALLBACKS * len(_WEIGHTINGS)
    votes_of = np.repeat(np.arange(len(_WEIGHTINGS)), len(_FALLBACKS)).tolist()

    def votes(
        self, items: NDArray[np.int64], now: int, own: int, rows: int, *, which: Sequence[int] | None = None
    ) -> list[NDArray[np.float64]]:
        """Let the neighbours vote, under either weighting."""
        del now
        weightings = [weigh for at, weigh in enumerate(_WEIGHTINGS.values()) if which is None or at in which]
        places, votes = np.arange(1, len(items) + 1), []
        found = self.candidates(items, [weigh(places) for weigh in weightings], own)
        for weigh, candidates in zip(weightings, found, strict=True):
            near = candidates.nearest(NEIGHBOURS, candidates.similarity)
            weights = near.similarity * weigh(near.nearest_place)
            votes.append(add_up(self.sessions.items(near.sessions), weights[:, None], rows))
        return votes


BASELINES = (BaselineDeclaration("vsknn", lambda _: VsknnBaseline(), counting=True),)
