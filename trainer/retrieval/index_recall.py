"""Recall of the candidates, measured before events are learned, and the share of the items that the index yields.

An index of nodes that know little loses items that the model would rank high and that no other source names. Until it
has earned its place, it yields all items, and the dot product of each is computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.retrieval.inverted_lists import InvertedLists

PROBES = 16
"""Events of a step whose items are looked for among the candidates."""

SHARE = 0.16
"""Share of the items that an index of proven recall yields; with the other sources it is 17 to 27%, as measured."""

MOST_DOTS = 16_384
"""Items that it yields, at most: their dot products take about a millisecond."""

# Recall from which the index yields a share of the items: it costs less than half a point of the answers then.
_ENOUGH = 0.99

# Weight of the earlier probes at each new one, and their weight in all before which nothing is concluded.
_MEMORY, _LEAST = 0.999, 100.0


class RunningRecall:
    """Share of the items that the model ranks high and that are among the candidates of a request.

    Attributes
    ----------
    hits, probes : float
        Decayed counts.

    Examples
    --------
    >>> recall = RunningRecall()
    >>> recall.share
    1.0
    >>> recall.hits = recall.probes = 500.0
    >>> recall.share
    0.16
    """

    def __init__(self) -> None:
        self.hits = self.probes = 0.0

    @property
    def share(self) -> float:
        """Share of the items that the index yields per request."""
        proven = self.probes >= _LEAST and self.hits >= _ENOUGH * self.probes
        return SHARE if proven else 1.0

    def update(
        self,
        leaves: InvertedLists,
        log_probs: NDArray[np.float32],
        targets: NDArray[np.int64],
        named: NDArray[np.bool_],
        *,
        beam: int,
        budget: int,
    ) -> None:
        """Look for `targets` (n,), which the model ranks high, where a beam of `log_probs` (n, K) leads.

        Those that another source names (n,) are found wherever the beam leads.
        """
        dots = item_limit(SHARE, len(leaves), budget)
        for logits, target, known in zip(log_probs, targets.tolist(), named.tolist(), strict=True):
            found = known or (leaves.candidates(logits, beam, dots).rows == target).any()
            self.hits = _MEMORY * self.hits + float(found)
            self.probes = _MEMORY * self.probes + 1


def item_limit(share: float, items: int, budget: int) -> int:
    """Return how many of all `items` the index yields at a `share`: the `budget` that is scored, at least.

    Examples
    --------
    >>> item_limit(0.16, 10_000, 200), item_limit(0.16, 500, 200), item_limit(1.0, 10**6, 200)
    (1600, 200, 16384)
    """
    return max(budget, min(int(share * items), MOST_DOTS))
