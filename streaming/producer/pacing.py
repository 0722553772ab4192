"""Replay: when each event of a recorded stream is due on the wall clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

from hsnn.streaming.schema.events import Event

KeyedEvent = tuple[str, bytes, Event]
"""(topic, key, event) as `hsnn.streaming.datasets.Dataset.events` yields them."""

_TICK = 0.005  # seconds; events that fall due within one tick go out together
_NAP = 0.1  # seconds; the longest sleep that does not look whether to stop


def parse_speed(speed: str | float) -> float | None:
    """Seconds of event time per second of wall time, or None for as fast as possible.

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
    """The wall time at which an event is due: gaps of event time divided by a factor, counted from the first event.

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
        """Seconds until the event of time `ts` (epoch ms) is due; zero or less: now."""
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
    """Yield groups of at most `size` events, each once it is due, in order; end early once `stop` says so."""
    group: list[KeyedEvent] = []
    for entry in events:
        if group and (len(group) >= size or pacer.remaining(entry[2].ts) > 0):
            yield group
            group = []
        if not group:
            _wait(pacer, entry[2].ts, stop, sleep)
            if stop():
                return
        group.append(entry)
    if group:
        yield group


def _wait(pacer: Pacer, ts: int, stop: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    while (left := pacer.remaining(ts)) > 0 and not stop():
        # Never less than a tick: at high factors this is what gathers events into groups.
        sleep(min(max(left, _TICK), _NAP))
