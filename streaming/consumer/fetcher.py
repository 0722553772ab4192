"""The reading side of a log, for one consumer: when it asks, or on a thread of its own.

The thread reads and decodes when somebody waits for rows, many at once, and rests while the model learns: two threads
that both need the interpreter's lock take more time than one after the other. Only once in a while it polls all the
same, so that the log's client is polled however long a batch takes, and a log that is away holds up nobody who does
not wait for it. Only what `read` returned counts as read: positions, and with them all that a checkpoint holds, do not
depend on how far ahead the thread is.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, Lock, Thread
from typing import Protocol

from hsnn.streaming.consumer.polling import Decode, Poller
from hsnn.streaming.decode.rows import Rows
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position

_MAX_POLL_WAIT = 0.02
"""Longest poll, in seconds: others who ask the log something wait for its end."""

_IDLE_POLL_INTERVAL = 1.0
"""Seconds between polls while nobody waits."""

END_OFFSETS_MAX_AGE = 0.05
"""Seconds for which the ends of the partitions count as known."""

_END_OFFSETS_MAX_AGE_BEHIND = 0.25
"""The same while more is known to be there than was read."""


class Fetcher(Protocol):
    """Reads some partitions of a log and decodes what it reads."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, Rows]]:
        """Take what there is of some partitions; waits at most `timeout` seconds for the first rows."""

    def positions(self) -> dict[Position, int]:
        """Next offset to take, per partition of the last `seek`; past gaps that hold no more records."""

    def end_offsets(self, within: float) -> dict[Position, int]:
        """Offset after the last record, per partition of the last `seek`, as it was at most `within` seconds ago."""

    def close(self) -> None:
        """Read no more; the log stays open."""


class DirectFetcher:
    """Reads when it is asked to.

    Parameters
    ----------
    event_log
    decode
        Makes rows of some records of one partition.
    """

    def __init__(self, event_log: EventLog, decode: Decode) -> None:
        self._log, self._polling = event_log, Poller(event_log, decode)
        self._ends = _Ends(event_log)
        self.positions, self.end_offsets = event_log.positions, self._ends.within

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._log.seek(positions)
        self._polling.reset()
        self._ends.begin(positions)

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, Rows]]:
        """Take what there is of some partitions; see `Fetcher`."""
        return self._polling.read(timeout, partitions)

    def close(self) -> None:
        """Nothing is under way."""


class PrefetchingFetcher:
    """Reads on a thread, which ends with `close`, or when nobody refers to this any more.

    Parameters
    ----------
    event_log
        Nobody else may poll or seek it.
    decode
        Makes rows of some records of one partition; called on the thread.
    most
        Rows of a partition that may wait, and then what is read at once.
    """

    def __init__(self, event_log: EventLog, decode: Decode, max_rows: int) -> None:
        self._log, self._polling, self._most = event_log, Poller(event_log, decode), max_rows
        self._ends = _Ends(event_log)
        self._client, self._asking = Lock(), 0
        self._news = Condition()
        self._waiting: dict[Position, deque[tuple[Rows | None, int]]] = {}
        self._rows: dict[Position, int] = {}
        self._read: dict[Position, int] = {}
        self._fetched: dict[Position, int] = {}
        self._error: BaseException | None = None
        self._ended = False
        self._awaited: Collection[Position] = ()
        self._polled_at = 0.0
        self._thread: Thread | None = None

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on; what was read ahead is forgotten."""
        with self._asks():
            self._log.seek(positions)
            self._polling.reset()
            self._ends.begin(positions)
            with self._news:
                self._read, self._fetched = dict(positions), dict(positions)
                self._waiting = {position: deque() for position in positions}
                self._rows = dict.fromkeys(positions, 0)
                self._error, self._polled_at = None, 0.0
        if self._thread is None and positions:
            self._thread = Thread(target=_work, args=(weakref.ref(self),), name="read-ahead", daemon=True)
            self._thread.start()

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, Rows]]:
        """Take what was read of some partitions; waits at most `timeout` seconds for the first rows.

        Raises
        ------
        Exception
            What the log or its decoder raised, once what was read before of these partitions was taken; others may
            hold more, but who asks cannot go on without these. Reading then goes on.
        """
        with self._news:
            self._await(partitions, timeout)
            found = [(position, rows) for position in partitions for rows in self._taken(position)]
            if not found and self._error is not None:
                error, self._error = self._error, None
                self._news.notify_all()
                raise error
        return found

    def positions(self) -> dict[Position, int]:
        """Next offset to take, per partition of the last `seek`; past gaps that hold no more records."""
        with self._news:
            for position, waiting in self._waiting.items():
                if not waiting:
                    self._read[position] = self._fetched[position]
            return dict(self._read)

    def end_offsets(self, within: float) -> dict[Position, int]:
        """Offset after the last record, per partition; asked for by the thread, so it may be a poll older than said."""
        if self._thread is None or not self._thread.is_alive():
            return self._ends.within(within)
        return self._ends.known

    def close(self) -> None:
        """End the thread, and wait for its last poll; the log stays open."""
        with self._news:
            self._ended = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _await(self, partitions: Collection[Position], timeout: float) -> None:
        if self._has(partitions):
            return
        self._awaited = partitions
        self._news.notify_all()
        if timeout > 0:
            self._news.wait_for(lambda: self._has(partitions) or self._error is not None, timeout)
            self._awaited = ()

    def _has(self, partitions: Collection[Position]) -> bool:
        return any(self._waiting.get(position) for position in partitions)

    def _taken(self, position: Position) -> Iterator[Rows]:
        waiting = self._waiting.get(position, ())
        while waiting:
            rows, offset = waiting.popleft()
            self._read[position] = offset
            if rows is not None:
                self._rows[position] -= len(rows)
                yield rows

    @contextmanager
    def _asks(self) -> Iterator[None]:
        """Have the client to oneself; the thread, which would take it again at once, stands back."""
        self._asking += 1
        try:
            with self._client:
                yield
        finally:
            self._asking -= 1

    def _turn(self) -> bool:
        """Poll once, if there is room; False when reading has ended."""
        with self._news:
            hungry = self._hungry()
            idle = bool(self._asking) or self._error is not None or not hungry
            if idle and not self._ended:
                self._news.wait(_MAX_POLL_WAIT / 10 if self._asking else _IDLE_POLL_INTERVAL / 10)
            if idle or self._ended:
                return not self._ended
        try:
            self._poll(hungry)
        except Exception as error:
            with self._news:
                self._error = error
                self._news.notify_all()
        return True

    def _hungry(self) -> list[Position]:
        """Partitions that somebody waits for; once in a while all that have room."""
        if self._awaited:
            return list(self._awaited)
        if time.monotonic() - self._polled_at < _IDLE_POLL_INTERVAL:
            return []
        return [position for position, rows in self._rows.items() if rows < self._most]

    def _poll(self, hungry: list[Position]) -> None:
        with self._client:
            patience = _MAX_POLL_WAIT if self._awaited else 0.0
            found, after = self._polling.read(patience, hungry), self._log.positions()
            self._polled_at = time.monotonic()
            behind = any(offset < self._ends.known.get(position, 0) for position, offset in after.items())
            try:
                self._ends.within(_END_OFFSETS_MAX_AGE_BEHIND if behind else END_OFFSETS_MAX_AGE)
            finally:  # it may fail, and what was polled is not polled again
                self._keep(found, after)

    def _keep(self, found: list[tuple[Position, Rows]], after: dict[Position, int]) -> None:
        with self._news:
            for position, rows in found:
                self._waiting[position].append((rows, after[position]))
                self._rows[position] += len(rows)
            self._fetched = after
            if self._has(self._awaited):
                self._awaited = ()
            self._news.notify_all()


class _Ends:
    """Where the partitions of a log end."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._at = 0.0
        self.known: dict[Position, int] = {}

    def begin(self, partitions: Iterable[Position]) -> None:
        """Ask for these partitions, now and from now on."""
        self.known = self._log.end_positions(partitions)
        self._at = time.monotonic()

    def within(self, seconds: float) -> dict[Position, int]:
        """Return what is known if it is not older than so many seconds, else ask."""
        if time.monotonic() - self._at >= seconds:
            self.begin(self.known)
        return self.known


def _work(reference: weakref.ref[PrefetchingFetcher]) -> None:
    """Turn as long as there is somebody to read for."""
    while (ahead := reference()) is not None and ahead._turn():
        del ahead
