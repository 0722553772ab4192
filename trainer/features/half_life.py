"""Selection of the half-life whose popularity predicts the stream best, tested on events before they are counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.rowstore.arrays import Array

# Weight of the earlier losses at every batch: the running loss averages over about the last hundred batches.
_MEMORY = 0.99

# Engagements that every item is credited with: without them an item never counted has an infinite log loss.
_PRIOR = 0.1


class HalfLifeSelector:
    """Running log loss of popularity at every half-life; the half-life with the smallest one is `best`.

    Popularity at a half-life gives an item the probability (its count + prior) / (all counts + prior * items). It
    predicts nothing for an item without earlier engagements: on a young stream, where many items are new, these favour
    the half-life that has forgotten most.

    Parameters
    ----------
    known
        Use only events on items that were engaged with before.

    Attributes
    ----------
    loss : (H,) float64
        Exponentially weighted log loss, nats per event.
    last_loss : (H,) float64
        Log loss of the last batch alone; NaN where none of its events counts. No part of the state.
    totals : (H,) float64
        Sum of all items' counts, as of `time` (epoch ms).
    """

    def __init__(self, *, known: bool = False) -> None:
        self._known = known
        self.loss: NDArray[np.float64] = np.zeros(len(HALF_LIVES))
        self.last_loss: NDArray[np.float64] = np.full(len(HALF_LIVES), np.nan)
        self.totals: NDArray[np.float64] = np.zeros(len(HALF_LIVES))
        self.time = 0

    @property
    def best(self) -> int:
        """Index of the best half-life, of equally good ones the longest: a young stream has nothing to forget."""
        return len(HALF_LIVES) - 1 - int(np.argmin(self.loss[::-1]))

    def state_dict(self) -> dict[str, Array]:
        """Return the running losses and totals; `time` is a value of its own."""
        return {"loss": self.loss, "totals": self.totals}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from copies of what `state_dict` returned."""
        self.loss, self.totals = arrays["loss"].copy(), arrays["totals"].copy()

    def update(
        self, states: ItemCounters, rows: NDArray[np.integer], weights: NDArray[np.float32], *, now: int, items: int
    ) -> None:
        """Add the loss on a batch of item rows (n,) of `weights` (n,) at time `now`, then add these to the totals."""
        self.totals *= np.exp2(-max(now - self.time, 0) / np.array(HALF_LIVES))
        self.time = max(now, self.time)
        counts = states.counts(rows, now)  # (n, H)
        known = counts[:, -1] > 0 if self._known else True  # the longest half-life: the last count to vanish
        shares = np.where(known, weights, 0.0)
        if shares.any():
            losses = np.log(self.totals + _PRIOR * max(items, 1)) - np.log(counts + _PRIOR)
            self.last_loss = np.average(losses, axis=0, weights=shares)
            self.loss = _MEMORY * self.loss + (1 - _MEMORY) * self.last_loss
        else:
            self.last_loss = np.full(len(HALF_LIVES), np.nan)
        self.totals += float(weights.sum())
