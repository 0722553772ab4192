"""Item state: exponentially decayed engagement counters, exact at any time of reading.

Each item has one value per half-life and the time as of which the values hold. A read at a later time decays them
exactly, so only items with new engagements change. Training, index and serving share this code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

# Milliseconds of an hour: event times are epoch ms.
HOUR = 3_600_000.0

HALF_LIVES = tuple(hours * HOUR for hours in (0.1, 0.5, 2.0, 8.0, 24.0, 168.0, 2400.0))
"""Half-lives of the counters, ms."""


POPULARITY_PRIOR = 0.1
"""Engagements that every item is credited with in its popularity."""


class ItemCounters:
    """Counters of all items, by row.

    Attributes
    ----------
    values : (rows, H) float32
        Decayed counts, as of `last`.
    last, first : (rows,) int64
        Time of the last and the first sign of life, epoch ms; 0 = never seen.
    half_life, total, total_at : int, float, int
        Set by whoever owns the counters (`set_popularity`): index of the half-life whose count is an item's popularity,
        and the engagements of all items at this half-life as of `total_at`, epoch ms.
    barrier : WriteBarrier

    Examples
    --------
    >>> states = ItemCounters()
    >>> states.add_engagements(np.array([0, 0]), np.array([1, 1 + 360_000]), np.ones(2, np.float32))
    >>> states.counts(np.array([0]), 1 + 360_000)[0, 0].item()  # after 0.1 h = 360 s the first click counts half
    1.5
    """

    def __init__(self, rows: int = 1024) -> None:
        self.values: NDArray[np.float32] = np.zeros((rows, len(HALF_LIVES)), np.float32)
        self.last: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.first: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.half_life, self.total, self.total_at = len(HALF_LIVES) - 1, 1.0, 0
        self._half_lives = np.array(HALF_LIVES)
        self.barrier = WriteBarrier()

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.values, self.last, self.first = grown(self.values, rows), grown(self.last, rows), grown(self.first, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"values": self.values, "last": self.last, "first": self.first}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.values = columns["values"].copy()
        self.last = columns["last"].copy()
        self.first = columns["first"].copy()

    def mark_first_seen(self, rows: Sequence[int] | NDArray[np.integer], ts: int) -> None:
        """Record that items exist since `ts` (epoch ms) without counting an engagement."""
        index = np.asarray(rows)
        new = index[self.first[index] == 0]
        self.barrier.before_write(new)
        self.first[new] = ts
        self.last[new] = ts

    def add_engagements(self, rows: NDArray[np.integer], ts: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Count engagements: `rows`, `ts` and `weights` are (n,), in any order, rows may repeat.

        An event older than an item's last one is decayed to that time instead of moving it back.
        """
        unique, inverse = np.unique(rows, return_inverse=True)
        self.barrier.before_write(unique)
        latest = self.last[unique].copy()
        np.maximum.at(latest, inverse, ts)
        # First bring the old values to the newest time, then add each event decayed from its own time to that.
        self.values[unique] *= self._decay(latest - self.last[unique]).T
        added = weights[:, None] * self._decay(latest[inverse] - ts).T  # (n, H)
        np.add.at(self.values, unique[inverse], added.astype(np.float32))
        # 0 means never seen, so it must not win the minimum.
        earliest = np.where(self.first[unique] == 0, np.iinfo(np.int64).max, self.first[unique])
        np.minimum.at(earliest, inverse, ts)
        self.first[unique] = earliest
        self.last[unique] = latest

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset `rows` to never seen."""
        self.barrier.before_write(rows)
        self.values[rows], self.last[rows], self.first[rows] = 0, 0, 0

    def set_rows(
        self, rows: NDArray[np.integer], values: NDArray[np.float32], last: NDArray[np.int64], first: NDArray[np.int64]
    ) -> None:
        """Overwrite the state of `rows` with published values (the server's mirror)."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        self.values[rows], self.last[rows], self.first[rows] = values, last, first

    def counts(self, rows: NDArray[np.integer] | slice, now: int | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the decayed counts (n, H) of `rows` at time `now`, one for all or one for each (n,)."""
        return np.ascontiguousarray(self._counted(rows, np.maximum(now - gather_rows(self.last, rows), 0)).T)

    def features(
        self, rows: NDArray[np.integer] | slice, now: int | NDArray[np.int64], half_life: int | None = None
    ) -> NDArray[np.float32]:
        """Compute the state features: log counts, trend, age, time since the last engagement, log popularity.

        Popularity is that at `half_life`, by default the one in use.

        Returns
        -------
        (n, STATE_FEATURES) float32
        """
        elapsed = np.maximum(now - gather_rows(self.last, rows), 0)
        counts = np.log1p(self._counted(rows, elapsed))  # (H, n)
        age = np.log1p(np.maximum(now - gather_rows(self.first, rows), 0) / HOUR)
        idle = np.log1p(elapsed / HOUR)
        # A short half-life against the next longer one: near 0 for a burst of new engagements, negative once it fades.
        trend = counts[:-1] - counts[1:]  # (H-1, n)
        # Logs reach about 9 (a year in hours): a third keeps the inputs of the state tower small.
        # Out of the logs, and not anew: models were trained with the bits that this gives.
        popularity = _log_popularity(np.expm1(counts[self.half_life if half_life is None else half_life]))
        across = np.concatenate([counts / 3, trend, age[None] / 3, idle[None] / 3, popularity[None]], dtype=np.float32)
        return np.ascontiguousarray(across.T)

    def set_popularity(self, half_life: int, total: float, total_at: int) -> None:
        """Set the half-life of popularity, and the engagements of all items at it; see the attributes."""
        self.half_life, self.total, self.total_at = half_life, total, total_at

    def popularity(
        self, rows: NDArray[np.integer], now: NDArray[np.int64], query: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the shares (n,) of `rows` (n,) in all engagements, at the half-life in use and ``now[query]``.

        `now` (B,) are the times of the queries, `query` (n,) says which of them asks for a row.
        """
        total = self.total * self._popularity_decay(now - self.total_at)
        shares: NDArray[np.float64] = (self._engagements(rows, now[query]) + POPULARITY_PRIOR) / (total + 1)[query]
        return shares

    def log_popularity(self, rows: NDArray[np.integer], now: int | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the last of the `features` alone, (n,)."""
        return _log_popularity(self._engagements(rows, now)).astype(np.float32)

    def _engagements(self, rows: NDArray[np.integer], now: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """Read the counts (n,) of `rows` at the half-life in use and time `now`."""
        counts: NDArray[np.float64] = self.values[rows, self.half_life] * self._popularity_decay(
            now - gather_rows(self.last, rows)
        )
        return counts

    def _popularity_decay(self, elapsed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute by what a count at the half-life in use shrinks in `elapsed` (n,) ms; negative times count as 0."""
        decay: NDArray[np.float64] = np.exp2(np.maximum(elapsed, 0) * (-1 / HALF_LIVES[self.half_life]))
        return decay

    def log_mass(self, rows: NDArray[np.integer] | slice, half_life: int, origin: int) -> NDArray[np.float64]:
        """Return the log of the decayed count at one half-life, up to a term common to all items, (n,).

        Decay multiplies all counts of a half-life by one factor, so order and shares hold at any time. `origin` (epoch
        ms), the same for all items, keeps the numbers small.
        """
        with np.errstate(divide="ignore"):
            grown_since = (self.last[rows] - origin) * (np.log(2) / HALF_LIVES[half_life])
            mass: NDArray[np.float64] = np.log(self.values[rows, half_life].astype(np.float64)) + grown_since
        return mass

    def _counted(self, rows: NDArray[np.integer] | slice, elapsed: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the counts (H, n) of `rows` when `elapsed` (n,) ms have passed since their `last`."""
        counted: NDArray[np.float32] = gather_rows(self.values, rows).T * self._decay(elapsed)
        return counted

    def _decay(self, elapsed: NDArray[np.int64]) -> NDArray[np.float32]:
        """Compute decay factors (H, n), half-lives first: NumPy's inner loop then runs over the many rows."""
        decay: NDArray[np.float32] = np.exp2(-elapsed / self._half_lives[:, None]).astype(np.float32)
        return decay


def _log_popularity(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Take the log of decayed counts; as it is, not scaled: see `StateTower`."""
    logs: NDArray[np.floating] = np.log(counts + POPULARITY_PRIOR)
    return logs


STATE_FEATURES = 2 * len(HALF_LIVES) + 2
"""Width of `ItemCounters.features`."""
