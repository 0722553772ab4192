"""Mass expiry: departures stand still where too many items would leave at once, until somebody confirms it.

Items leave when a clock passes their expiry time, so that a clock that leaps takes the whole catalogue with it, rightly
or by mistake. Therefore departures have a time of their own, which follows the clock, but not a step by which more than
a share of the living items would leave. Such a step is **held** until an operator confirms it (``hsnn control
expire``), or the stream does, by going on for a while from where it leapt to; deletions are never held.

`DepartureClock` does so in the trainer, by the watermark, as a function of the log; its time is in every message, so
that scheduler and server follow it. `QuietEnds` does so in these, where a stream falls quiet: they go on by a
monotonic clock and obey the ends that were announced. Idleness does not go on there: a stream that broke says nothing
about its items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.rowstore.arrays import grown

ALARM = "mass_expiry"
"""Kind of the alarm about a step that is held."""

FEWEST = 20
"""Items that may always leave at once: in a catalogue that small a share says nothing."""

# Rows that are scanned together when one of them may have expired: such a scan takes microseconds.
_BLOCK = 4096


def is_mass(leaving: int, alive: int, share: float) -> bool:
    """Tell whether `leaving` of `alive` items are too many to leave at once.

    Examples
    --------
    >>> is_mass(299, 300, 0.5), is_mass(150, 300, 0.5), is_mass(FEWEST, FEWEST, 0.5), is_mass(300, 300, 1.0)
    (True, False, False, False)
    """
    return leaving > max(FEWEST, share * alive)


class Held(NamedTuple):
    """A step that is held: so many of so many living items would leave by it."""

    leaving: int
    alive: int


class DepartureClock:
    """Time of departures in the trainer: the watermark, unless a step is held.

    Parameters
    ----------
    share
        Share of the living items that may leave at once; 1: nothing is ever held.
    confirm_after : ms
        A held step is confirmed once the watermark has gone on for so long.

    Attributes
    ----------
    now : epoch ms
        Items whose expiry time it has reached have left; 0 before the first event.
    held : Held or None
    held_from : epoch ms
        Watermark at which the step was held; 0: none is.
    confirmed : epoch ms
        Up to where an operator lets items leave.

    Examples
    --------
    >>> ends = np.full(300, 2_000)
    >>> clock = DepartureClock(share=0.5, confirm_after=100)
    >>> for watermark in (1_000, 2_500, 2_590, 2_600):
    ...     clock.advance(watermark, len(ends), lambda rows: ends[rows])
    ...     print(clock.now, clock.held)
    1000 None
    1000 Held(leaving=300, alive=300)
    1000 Held(leaving=300, alive=300)
    2600 None
    """

    def __init__(self, share: float, confirm_after: int) -> None:
        self._share, self._confirm_after = share, confirm_after
        self.now = self.held_from = self.confirmed = 0
        self.held: Held | None = None
        # A lower bound of the expiry times after `now` in each block of rows; 0: unknown. It saves scans, no more.
        self._next: NDArray[np.int64] = np.zeros(0, np.int64)

    def note_changed(self, rows: NDArray[np.int64]) -> None:
        """Note that the expiry times of `rows` (n,) may have become earlier, or are new."""
        if len(rows):
            self._next = grown(self._next, int(rows.max()) // _BLOCK + 1)
            self._next[rows // _BLOCK] = 0

    def advance(self, watermark: int, rows: int, ends: Callable[[slice], NDArray[np.int64]]) -> None:
        """Follow the watermark, unless that is a step to hold.

        Parameters
        ----------
        watermark : epoch ms
        rows
            Number of items.
        ends
            Returns the expiry times (n,) of a slice of rows, as `hsnn.trainer.features.expiry.expiry_times`.
        """
        if watermark <= self.now:
            return
        leaving = 0
        following = self._next = grown(self._next, -(-rows // _BLOCK))
        if self.now and self._share < 1:
            following = self._next.copy()
            for block in np.flatnonzero(self._next[: -(-rows // _BLOCK)] <= watermark).tolist():
                times = ends(slice(block * _BLOCK, min((block + 1) * _BLOCK, rows)))
                leaving += int(np.count_nonzero((times > self.now) & (times <= watermark)))
                following[block] = times[times > watermark].min(initial=NEVER)
        held = self._judge(leaving, rows, ends)
        confirmed = watermark <= self.confirmed or 0 < self.held_from <= watermark - self._confirm_after
        if held is not None and not confirmed:
            self.held_from, self.held = self.held_from or watermark, held
            return
        self.now, self._next, self.held_from, self.held = watermark, following, 0, None

    def _judge(self, leaving: int, rows: int, ends: Callable[[slice], NDArray[np.int64]]) -> Held | None:
        """Return what is to be held; all items are counted only where more than `FEWEST` would leave."""
        if not is_mass(leaving, 0, self._share):
            return None
        alive = int(np.count_nonzero(ends(slice(0, rows)) > self.now))
        return Held(leaving, alive) if is_mass(leaving, alive, self._share) else None

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        held = None if self.held is None else [*self.held]
        return {"now": self.now, "held_from": self.held_from, "confirmed": self.confirmed, "held": held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.now, self.held_from, self.confirmed = state["now"], state["held_from"], state["confirmed"]
        self.held = None if state["held"] is None else Held(*state["held"])


class Arrival(NamedTuple):
    """When the newest event arrived, by the clock of Redis.

    Attributes
    ----------
    watermark : epoch ms
        Of the stream after this event.
    silent_ms
        Time since then.
    """

    watermark: int
    silent_ms: int


class QuietClock:
    """Time since the last event arrived, by a monotonic clock: setting a wall clock changes nothing.

    Parameters
    ----------
    clock
        Monotonic, seconds.

    Examples
    --------
    >>> seconds = [0.0]
    >>> quiet = QuietClock(lambda: seconds[0])
    >>> quiet.note(Arrival(watermark=500, silent_ms=3_000))
    >>> seconds[0] = 2.0
    >>> quiet.elapsed_ms(500), quiet.elapsed_ms(400)
    (5000, 0)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watermark, self._arrived = -1, 0.0
        self._noted = -math.inf
        self._asked, self._since = -1, 0.0

    def note(self, arrival: Arrival) -> None:
        """Take over what Redis says of the last arrival; it is believed once for each, when it is first seen.

        It came after the one before was seen last, whatever the clock of Redis says, which may have been set.
        """
        now = self._clock()
        if arrival.watermark != self._watermark:
            silent = min(max(arrival.silent_ms, 0) / 1000, now - self._noted)
            self._watermark, self._arrived = arrival.watermark, now - silent
        self._noted = now

    def elapsed_ms(self, watermark: int) -> int:
        """Return the ms since the event that led to `watermark` arrived.

        Time goes on while others are known to be on their way: they may be of an epoch that has no version yet, so that
        none of them comes.
        """
        now = self._clock()
        if watermark == self._watermark:
            self._asked, self._since = watermark, self._arrived
        elif watermark != self._asked:
            self._asked, self._since = watermark, now
        return int((now - self._since) * 1000)


class QuietEnds:
    """The time up to which announced ends are obeyed where a stream is quiet, in scheduler and server.

    Attributes
    ----------
    now : epoch ms
        Items that end at or before it have left.
    held : Held or None

    Examples
    --------
    >>> ends, alive = np.full(300, 2_000), np.ones(300, bool)
    >>> quiet = QuietEnds(1_000)
    >>> quiet.advance(2_500, ends, alive, share=0.5, confirmed=0), quiet.now, quiet.held
    (False, 1000, Held(leaving=300, alive=300))
    >>> quiet.advance(2_500, ends, alive, share=0.5, confirmed=2_500), quiet.now, quiet.held
    (True, 2500, None)
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self.held: Held | None = None

    def follow(self, now: int) -> None:
        """Continue from the time of departures of a message: where events come again, it alone counts."""
        self.now, self.held = now, None

    def advance(
        self, to: int, ends: NDArray[np.int64], alive: NDArray[np.bool_], *, share: float, confirmed: int
    ) -> bool:
        """Go on to a time, unless that is a step to hold; return whether items leave.

        Parameters
        ----------
        to : epoch ms
        ends : (n,) int64
            Announced ends, epoch ms; 0: none.
        alive : (n,) bool
            The living items.
        share
            Share of them that may leave at once.
        confirmed : epoch ms
            Up to where an operator lets items leave.
        """
        if to <= self.now:
            return False
        leaving = int(np.count_nonzero((ends > self.now) & (ends <= to) & alive))
        count = int(np.count_nonzero(alive)) if leaving > FEWEST else 0
        self.held = Held(leaving, count) if to > confirmed and is_mass(leaving, count, share) else None
        if self.held is None:
            self.now = to
        return self.held is None and leaving > 0
