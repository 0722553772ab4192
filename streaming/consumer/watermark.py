"""Stream time: what events agree on, from the log alone. One wrong clock must neither move it nor hold anything back.

The time of a single event and the time of the stream are two things:

* an event is *accepted* with the time that it states, however far ahead of the others, unless that lies more than
  `max_future` after the moment at which its own record was sent, or more than `max_past` behind the watermark;
* the *watermark* (`Watermark`) follows an event by at most `tolerance` at a step, and never beyond the moment at which
  the event was sent. It follows a longer step once more than half of the users who were active last are there;
* a partition is *merged* with the others by its running maximum (`order_keys`), except that a jump ahead that the
  partition's next events do not follow is ignored.

All three are functions of the records and their order, so that every run over the same log gives the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.event_table import NO_TIME

EARLIEST = 631_152_000_000
"""1990-01-01, epoch ms: engagements from before are mistakes (seconds for milliseconds, an unset clock)."""

WINDOW = 64
"""How many following events of a partition say whether a jump is real, how many first events give the start, and how
many of the users who were active last have a say in the watermark."""

QUORUM = 32
"""How many following events must agree on a jump before a partition holds on to it: half of `WINDOW`."""

_FEWEST = 3
"""Events in a row that must lie ahead before the watermark takes a long step: a single mistake is not enough."""

# Rows that are looked at one by one after one that is ahead: where one is, there are often more.
_ONE_BY_ONE = 256


def start_time(ts: NDArray[np.int64]) -> int:
    """Return the lower median of the plausible ones among the first event times; `NO_TIME` if there is none.

    Examples
    --------
    >>> start_time(np.array([4_000_000_000_000, 894_000_000_000, 893_000_000_000]))
    894000000000
    """
    plausible = np.sort(ts[ts >= EARLIEST])
    return int(plausible[(len(plausible) - 1) // 2]) if len(plausible) else NO_TIME


def corroborated(ts: NDArray[np.int64], sent_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return event times (n,), at most the wall times (n,) at which they were sent, where those are known.

    Examples
    --------
    >>> corroborated(np.array([700_000_000_000, 5]), np.array([700_000_000_000 - 9, 0])).tolist()
    [699999999991, 5]
    """
    return np.where(sent_at > EARLIEST, np.minimum(ts, sent_at), ts)


class EventTimeLimits(NamedTuple):
    """Limits of event times, ms.

    Attributes
    ----------
    max_future
        How far an event may be ahead of the moment at which it was sent; also the longest step of the watermark that
        needs no agreement.
    max_past
        How far an event may be behind the watermark.
    """

    max_future: int
    max_past: int


@dataclass(frozen=True, slots=True)
class OrderKeys:
    """Keys by which the rows of a partition are merged with those of others.

    Attributes
    ----------
    keys : (m,) int64
        Ascending; m <= n: the rows after a jump ahead must wait for more of the partition.
    bases : (m,) int64
        The same without the jumps that fewer than `QUORUM` events have followed so far.
    """

    keys: NDArray[np.int64]
    bases: NDArray[np.int64]


def order_keys(ts: NDArray[np.int64], *, key: int, base: int, start: int, tolerance: int, complete: bool) -> OrderKeys:
    """Compute the order keys of the next rows of one partition.

    Parameters
    ----------
    ts : (n,) int64
        Event times, `NO_TIME` for rows without one; those stay right after the row before them.
    key, base
        Those of the partition's last row before these; `NO_TIME` at its beginning. `base` counts if these rows are
        behind `key`: then the row that led there was a mistake that nobody had contradicted yet.
    start
        Start of stream time; the first row is no jump if it is within `tolerance` of it.
    tolerance : ms
        A longer step ahead is a jump.
    complete
        Whether the partition has no more rows than these for now.

    Examples
    --------
    >>> order_keys(np.array([5, 900, 6]), key=-1, base=-1, start=5, tolerance=100, complete=True).keys.tolist()
    [5, 5, 6]
    """
    n = len(ts)
    followers, agreeing = _following(ts, tolerance)
    if key != base and _contradicted(ts[:WINDOW], key - tolerance):
        key = base
    # At least half of the rows that follow are far behind it. The last row has no followers: nothing speaks against it.
    doubted = (ts != NO_TIME) & (2 * agreeing <= followers) & (followers > 0)
    # The last `WINDOW` rows have not met all their followers yet: a jump among them waits, unless no more will come.
    undecided_from = n if complete else max(n - WINDOW, 0)
    steps = _Steps(ts, start, tolerance)
    keys, stop = steps.running(doubted, key, undecided_from)
    bases, _ = steps.running(doubted | (agreeing < QUORUM), base, n)
    # Both maxima begin with values of their own; a base above its key would order rows behind what they came before.
    return OrderKeys(keys[:stop], np.minimum(bases, keys)[:stop])


def _following(ts: NDArray[np.int64], tolerance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the next `WINDOW` rows with a time, and those of them that are not far behind the row, (n,) each."""
    if (np.diff(ts) >= 0).all() and (len(ts) == 0 or ts[0] != NO_TIME):  # in order, as most partitions are
        followers = np.minimum(np.arange(len(ts))[::-1], WINDOW)
        return followers, followers
    # Row i of `windows` are the rows after i; padding gives the last ones as many, and does not count as followers.
    padded = np.concatenate((ts, np.full(WINDOW, NO_TIME)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[1:]
    timed = windows != NO_TIME
    agreeing = timed & (windows >= (ts - tolerance)[:, None])
    return timed.sum(axis=1), agreeing.sum(axis=1)


def _contradicted(ts: NDArray[np.int64], key: int) -> bool:
    timed = ts[ts != NO_TIME]
    return 2 * int(np.count_nonzero(timed < key)) > len(timed)


class _Steps(NamedTuple):
    """Event times (n,) of a partition, and how long a step from one to the next is no jump."""

    ts: NDArray[np.int64]
    start: int
    tolerance: int

    def running(self, doubted: NDArray[np.bool_], key: int, undecided_from: int) -> tuple[NDArray[np.int64], int]:
        """Return the running maximum (n,) from `key` without doubted jumps, and the first undecided jump."""
        ts = self.ts
        running = np.maximum.accumulate(np.concatenate(([key], np.where(doubted, NO_TIME, ts))))
        # A doubted row that is no long step ahead counts after all. One by one, since each may raise the maximum that
        # the next is compared with; they are few.
        for row in np.flatnonzero(doubted).tolist():
            reference = max(int(running[row]), self.start)
            if reference == NO_TIME or ts[row] <= reference + self.tolerance:
                running[row + 1 :] = np.maximum(running[row + 1 :], ts[row])
        # Stop at the first jump among the undecided rows, taken or not: what follows may yet contradict it.
        before = np.maximum(running[:-1], self.start)[undecided_from:]
        jumps = (ts[undecided_from:] > before + self.tolerance) & (before != NO_TIME)
        stop = undecided_from + int(np.argmax(jumps)) if jumps.any() else len(ts)
        return running[1:], stop


class ClockReading(NamedTuple):
    """Result of `Watermark.advance`.

    Attributes
    ----------
    after : (n,) int64
        The watermark after each row.
    too_old : (n,) bool
    """

    after: NDArray[np.int64]
    too_old: NDArray[np.bool_]


@dataclass(slots=True)
class Watermark:
    """Stream time: the largest event time that is agreed on.

    Attributes
    ----------
    value : epoch ms
        `NO_TIME` until an event was accepted.
    start : epoch ms
        What the first events are compared with; `NO_TIME` until it is known.
    votes
        Newest event time of each of the `WINDOW` users who were active last, by a hash of the id, least recent first.
    ahead
        How many events in a row were ahead.

    Examples
    --------
    >>> clock, limits = Watermark(10**12, 10**12), EventTimeLimits(max_future=100, max_past=10**9)
    >>> ts = 10**12 + np.array([1, 2, 3, 9_000, 4])
    >>> (clock.advance(ts, ts, np.array([*"abcab"], object), limits).after - 10**12).tolist()
    [1, 2, 3, 3, 4]
    """

    value: int = NO_TIME
    start: int = NO_TIME
    votes: dict[int, int] = field(default_factory=dict)
    ahead: int = 0

    @property
    def reference(self) -> int:
        """The time that event times are compared with."""
        return max(self.value, self.start)

    def advance(
        self, ts: NDArray[np.int64], sent_at: NDArray[np.int64], users: NDArray[np.object_], limits: EventTimeLimits
    ) -> ClockReading:
        """Follow rows in merge order.

        Parameters
        ----------
        ts : (n,) int64
            Event times of engagements; `NO_TIME` for other rows, which move nothing.
        sent_at : (n,) int64
            Wall times at which they were sent, epoch ms.
        users : (n,) texts
        limits
        """
        n = len(ts)
        after, too_old = np.empty(n, np.int64), np.zeros(n, np.bool_)
        times = np.where(ts == NO_TIME, NO_TIME, corroborated(ts, sent_at))
        done = 0
        # A stretch in which no row is ahead needs no votes: the watermark is the running maximum, in one pass. From the
        # first row that is ahead on, each row's vote may decide whether the next still is.
        while done < n:
            rest = times[done:]
            before = np.maximum.accumulate(np.concatenate(([self.reference], rest)))[:-1]
            ahead = np.flatnonzero((rest > before + limits.max_future) & (before != NO_TIME))
            stop = done + int(ahead[0]) if len(ahead) else n
            followed = self._follow(times[done:stop], users[done:stop], before[: stop - done], limits)
            after[done:stop], too_old[done:stop] = followed
            done = min(stop + _ONE_BY_ONE, n)
            for row in range(stop, done):
                too_old[row] = self._vote(int(times[row]), users[row], limits)
                after[row] = self.value
        return ClockReading(after, too_old)

    def _follow(
        self, times: NDArray[np.int64], users: NDArray[np.object_], before: NDArray[np.int64], limits: EventTimeLimits
    ) -> ClockReading:
        """Follow rows of which none is ahead; `before` (n,) are the references before each of them."""
        oldest = np.where(before == NO_TIME, EARLIEST, np.maximum(EARLIEST, before - limits.max_past))
        too_old = (times != NO_TIME) & (times < oldest)
        accepted = np.where(too_old, NO_TIME, times)
        # Refused rows are `NO_TIME`, the smallest number, and so move no maximum.
        after = np.maximum.accumulate(np.concatenate(([self.value], accepted)))
        self.value = int(after[-1])
        voting = np.flatnonzero(accepted != NO_TIME)
        if len(voting):
            self.ahead = 0
            self._note(voting, times, users)
        return ClockReading(after[1:], too_old)

    def _note(self, voting: NDArray[np.intp], times: NDArray[np.int64], users: NDArray[np.object_]) -> None:
        """Note the newest votes among rows: of the last `WINDOW` users, whatever the number of rows."""
        newest: dict[int, int] = {}
        for row in voting[::-1].tolist():
            newest.setdefault(crc32(users[row].encode()), int(times[row]))
            if len(newest) == WINDOW:
                break
        for user, time in reversed(newest.items()):
            self._set_vote(user, time)

    def _vote(self, time: int, user: Any, limits: EventTimeLimits) -> bool:
        """Follow one row; return whether it is too old."""
        if time == NO_TIME:
            return False
        reference = self.reference
        if time < EARLIEST or (reference != NO_TIME and time < reference - limits.max_past):
            return True
        self._set_vote(crc32(user.encode()), time)
        if reference == NO_TIME or time <= reference + limits.max_future:
            self.value, self.ahead = max(self.value, time), 0
            return False
        self.ahead += 1
        if self.ahead >= _FEWEST:
            votes = sorted(self.votes.values())
            # More than half of the users are at this time or later; from there on its steps are short again.
            agreed = len(votes) - 1 - len(votes) // 2
            if votes[agreed] > reference:
                self.value = votes[agreed]
                for vote in votes[agreed:]:
                    if vote > self.value + limits.max_future:
                        break
                    self.value = vote
        return False

    def _set_vote(self, user: int, time: int) -> None:
        self.votes.pop(user, None)
        self.votes[user] = time
        if len(self.votes) > WINDOW:
            del self.votes[next(iter(self.votes))]

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for the checkpoint."""
        return {"value": self.value, "start": self.start, "votes": [*self.votes.items()], "ahead": self.ahead}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Watermark:
        """Restore what `state_dict` returned."""
        votes = {int(user): int(time) for user, time in state["votes"]}
        return cls(int(state["value"]), int(state["start"]), votes, int(state["ahead"]))
