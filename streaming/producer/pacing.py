"""Pacing of a replay: when each event of a recorded stream is due on the wall clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

from hsnn.streaming.schema.events import Event

KeyedEvent = tuple[str, bytes, Event]
"""(topic, key, event) as `hsnn.streaming.datasets.Dataset.events` yields them."""

# Seconds: events that fall due within one tick are sent together.
_TICK = 0.005

# Seconds of the longest sleep: how late a request to stop is noticed.
_MAX_SLEEP = 0.1


def parse_speed(speed: str | float) -> float | None:
    """Return the seconds of event time per second of wall time, or None for as fast as possible.

    Raises
    ------
    ValueError
        Neither ``"max"`` nor a positive factor such as ``"60x"``.

    Examples
    --------
    >>> parse_speed("60x"), parse_speed("0.5"), parse_speed("max")
    (60.0, 0.5, None)
    """
    if speed == "max":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", str(speed).strip())
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{speed!r} is not a replay speed; write 'max' or a factor such as '60x'")
    return float(match[1])


class Pacer:
    """Computes when events are due: gaps of event time are divided by a factor, from the first event on.

    Parameters
    ----------
    factor
        See `parse_speed`.
    clock
        Monotonic seconds.
    """

    def __init__(self, factor: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._factor = factor
        self._clock = clock
        self._start: tuple[float, int] | None = None

    def remaining(self, ts: int) -> float:
        """Return the seconds until the event of time `ts` (epoch ms) is due; zero or less means now."""
        if self._factor is None:
            return 0.0
        if self._start is None:
            self._start = (self._clock(), ts)
        wall, first = self._start
        return wall + (ts - first) / 1000 / self._factor - self._clock()


def paced_groups(
    events: Iterable[KeyedEvent],
    pacer: Pacer,
    size: int,
    stop: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[list[KeyedEvent]]:
    """Yield groups of at most `size` events, each when it is due, in order; end early once `stop` returns True."""
    group: list[KeyedEvent] = []
    for event in events:
        if group and (len(group) >= size or pacer.remaining(event[2].ts) > 0):
            yield group
            group = []
        if not group:
            _wait(pacer, event[2].ts, stop, sleep)
            if stop():
                return
        group.append(event)
    if group:
        yield group


def _wait(pacer: Pacer, ts: int, stop: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    while (left := pacer.remaining(ts)) > 0 and not stop():
        # At least one tick: at high factors this is what gathers events into groups.
        sleep(min(max(left, _TICK), _MAX_SLEEP))
