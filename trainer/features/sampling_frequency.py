"""Streaming estimate of how often an item is drawn, for the logQ correction of sampled softmax.

Sampling-bias correction as in Yi et al., RecSys 2019: an item that is in the batch with probability ``q`` has
``log q`` SUBTRACTED from its logit, so that popular items are not punished for being frequent negatives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

NO_DRAW = np.float32(1e4)
"""Log of q of a row that is no draw of the sample: subtracted from a logit it leaves a probability of exactly zero.
Finite, so that zero times its logarithm is zero."""


class StreamingFrequency:
    """Exponentially decayed share of each item among the last events; `half_life` is in events.

    Attributes
    ----------
    counts : (rows,) float64
        Decayed counts, as of `seen`.
    seen : (rows,) int64
        Number of events counted when the count was last updated.
    barrier : WriteBarrier
    """

    def __init__(self, half_life: float, rows: int = 1024) -> None:
        self.half_life = half_life
        self.counts: NDArray[np.float64] = np.zeros(rows)
        self.seen: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.barrier = WriteBarrier()

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.counts, self.seen = grown(self.counts, rows), grown(self.seen, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"counts": self.counts, "seen": self.seen}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.counts, self.seen = columns["counts"].copy(), columns["seen"].copy()

    def update(self, rows: NDArray[np.integer], events: int) -> None:
        """Count a batch of item rows (n,) that follows after `events` events."""
        unique, counted = np.unique(rows, return_counts=True)
        self.barrier.before_write(unique)
        self.counts[unique] = self._decayed(unique, events) + counted
        self.seen[unique] = events

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset the counts of `rows`."""
        self.barrier.before_write(rows)
        self.counts[rows], self.seen[rows] = 0, 0

    def log_q(
        self, rows: NDArray[np.integer], events: int, batch: int, uniform: int, items: int
    ) -> NDArray[np.float32]:
        """Return the log of the expected number of times that each of `rows` is among a batch's candidates, (n,).

        Candidates are the distinct items of `batch` events and of `uniform` draws out of `items`.
        """
        # Decayed counts of a long stream sum to half_life / log 2; of a young one, to nearly the events so far.
        total = max(min(float(events), self.half_life / np.log(2)), 1.0)
        share = np.maximum(self._decayed(rows, events), 0.5) / total
        # An item is in the batch unless no event has it: 1 - (1 - share)^batch, close to 1 - exp(-batch * share).
        expected = -np.expm1(-batch * share) + uniform / max(items, 1)
        log_q: NDArray[np.float32] = np.log(expected).astype(np.float32)
        return log_q

    def _decayed(self, rows: NDArray[np.integer], events: int) -> NDArray[np.float64]:
        decayed: NDArray[np.float64] = self.counts[rows] * np.exp2((self.seen[rows] - events) / self.half_life)
        return decayed
