"""Fetch rows from a log for one consumer: when it asks for them, or ahead, on a thread.

The thread reads and decodes many rows at once when the consumer waits for some, and rests while the model learns: two
threads that both need the interpreter's lock take longer than one after the other. While it rests it polls only once
in a while, so that the log's client stays alive however long a batch takes, and an unavailable log holds up only those
who wait for it. Only what `read` returned counts as read: positions, and with them everything in a checkpoint, do not
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
from hsnn.streaming.decode.event_table import EventTable
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position

_MAX_POLL_WAIT = 0.02
"""Longest poll, in seconds: other requests to the log wait for its end."""

_IDLE_POLL_INTERVAL = 1.0
"""Seconds between polls while nobody waits: often enough for any log's client to stay alive."""

END_OFFSETS_MAX_AGE = 0.05
"""Seconds for which known end offsets are used: they decide whether a partition may still hold earlier events."""

_END_OFFSETS_MAX_AGE_BEHIND = 0.25
"""The same while the log is known to hold more than was read: then their exact values matter less."""


class Fetcher(Protocol):
    """Reads some partitions of a log and decodes what it reads."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, EventTable]]:
        """Return the next rows of some partitions; wait at most `timeout` seconds for the first ones."""

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`; past gaps that hold no more records."""

    def end_offsets(self, max_age: float) -> dict[Position, int]:
        """Return the offset after the last record, per partition of the last `seek`, at most `max_age` seconds old."""

    def poll_seconds(self) -> float:
        """Return for how long a poll of another thread has not returned; 0 while none is under way."""

    def close(self) -> None:
        """Read no more; the log stays open."""


class DirectFetcher:
    """Reads when it is asked to.

    Parameters
    ----------
    event_log
    decode
    """

    def __init__(self, event_log: EventLog, decode: Decode) -> None:
        self._log, self._poller = event_log, Poller(event_log, decode)
        self._end_offsets = _EndOffsets(event_log)
        self.positions, self.end_offsets = event_log.positions, self._end_offsets.get

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._log.seek(positions)
        self._poller.reset()
        self._end_offsets.fetch(positions)

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, EventTable]]:
        """Return the next rows of some partitions; see `Fetcher`."""
        return self._poller.read(timeout, partitions)

    def poll_seconds(self) -> float:
        """Return 0: the thread that would ask is the one that polls."""
        return 0.0

    def close(self) -> None:
        """Do nothing: no read is under way."""


class PrefetchingFetcher:
    """Reads on a thread, which ends with `close`, or when nobody refers to the fetcher any more.

    Parameters
    ----------
    event_log
        Nobody else may poll or seek it.
    decode
        Called on the thread.
    max_rows
        Rows of a partition that are read ahead; the last read may exceed it.
    """

    def __init__(self, event_log: EventLog, decode: Decode, max_rows: int) -> None:
        self._log, self._poller, self._max_rows = event_log, Poller(event_log, decode), max_rows
        self._end_offsets = _EndOffsets(event_log)
        # The log's client is used by one thread at a time; `_client_wanted` counts callers that wait for it.
        self._client, self._client_wanted = Lock(), 0
        self._changed = Condition()  # guards the queues, offsets and flags below
        # Per partition: tables that were read ahead, each with the offset after it.
        self._queues: dict[Position, deque[tuple[EventTable, int]]] = {}
        self._queued_rows: dict[Position, int] = {}
        self._read: dict[Position, int] = {}  # offset after what `read` returned
        self._fetched: dict[Position, int] = {}  # offset after what the thread read
        self._error: BaseException | None = None
        self._closed = False
        self._awaited: Collection[Position] = ()  # partitions whose rows `read` wants
        self._polled_at = 0.0
        self._poll_began: float | None = None  # monotonic; of the poll that is under way
        self._thread: Thread | None = None

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on; forget what was read ahead."""
        with self._exclusive_client():
            self._log.seek(positions)
            self._poller.reset()
            self._end_offsets.fetch(positions)
            with self._changed:
                self._read, self._fetched = dict(positions), dict(positions)
                self._queues = {position: deque() for position in positions}
                self._queued_rows = dict.fromkeys(positions, 0)
                self._error, self._polled_at = None, 0.0
        if self._thread is None and positions:
            self._thread = Thread(target=_run, args=(weakref.ref(self),), name="read-ahead", daemon=True)
            self._thread.start()

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, EventTable]]:
        """Return what was read ahead of some partitions; wait at most `timeout` seconds for the first rows.

        Raises
        ------
        Exception
            What the log or the decoder raised, once all that was read before of these partitions was returned. Other
            partitions may still have rows, but the caller cannot go on without these. Reading then continues.
        """
        with self._changed:
            self._wait(partitions, timeout)
            tables = [(position, table) for position in partitions for table in self._dequeue(position)]
            if not tables and self._error is not None:
                error, self._error = self._error, None
                self._changed.notify_all()
                raise error
        return tables

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`; past gaps that hold no more records."""
        with self._changed:
            for position, queue in self._queues.items():
                if not queue:
                    self._read[position] = self._fetched[position]
            return dict(self._read)

    def end_offsets(self, max_age: float) -> dict[Position, int]:
        """Return the offset after the last record, per partition; up to one poll of the thread older than `max_age`."""
        if self._thread is None or not self._thread.is_alive():
            return self._end_offsets.get(max_age)
        return self._end_offsets.known

    def poll_seconds(self) -> float:
        """Return for how long the poll of the thread has not returned; 0 while it rests."""
        began = self._poll_began
        return 0.0 if began is None else time.monotonic() - began

    def close(self) -> None:
        """End the thread, after its last poll; the log stays open."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _wait(self, partitions: Collection[Position], timeout: float) -> None:
        if self._has_rows(partitions):
            return
        self._awaited = partitions
        self._changed.notify_all()
        if timeout > 0:
            self._changed.wait_for(lambda: self._has_rows(partitions) or self._error is not None, timeout)
            self._awaited = ()

    def _has_rows(self, partitions: Collection[Position]) -> bool:
        return any(self._queues.get(position) for position in partitions)

    def _dequeue(self, position: Position) -> Iterator[EventTable]:
        queue = self._queues.get(position, ())
        while queue:
            table, offset = queue.popleft()
            self._read[position] = offset
            self._queued_rows[position] -= len(table)
            yield table

    @contextmanager
    def _exclusive_client(self) -> Iterator[None]:
        """Hold the client; the thread, which would take it again at once, lets this caller go first."""
        self._client_wanted += 1
        try:
            with self._client:
                yield
        finally:
            self._client_wanted -= 1

    def _run_once(self) -> bool:
        """Poll once, if there is room; return False once the fetcher is closed."""
        with self._changed:
            partitions = self._partitions_to_poll()
            rest = bool(self._client_wanted) or self._error is not None or not partitions
            if rest and not self._closed:
                self._changed.wait(_MAX_POLL_WAIT / 10 if self._client_wanted else _IDLE_POLL_INTERVAL / 10)
            if rest or self._closed:
                return not self._closed
        self._poll_began = time.monotonic()
        try:
            self._poll(partitions)
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._poll_began = None
        return True

    def _partitions_to_poll(self) -> list[Position]:
        """List the partitions that somebody waits for; once in a while, all that have room."""
        if self._awaited:
            return list(self._awaited)
        if time.monotonic() - self._polled_at < _IDLE_POLL_INTERVAL:
            return []
        return [position for position, rows in self._queued_rows.items() if rows < self._max_rows]

    def _poll(self, partitions: list[Position]) -> None:
        with self._client:
            timeout = _MAX_POLL_WAIT if self._awaited else 0.0
            tables, positions = self._poller.read(timeout, partitions), self._log.positions()
            self._polled_at = time.monotonic()
            behind = any(offset < self._end_offsets.known.get(position, 0) for position, offset in positions.items())
            try:
                self._end_offsets.get(_END_OFFSETS_MAX_AGE_BEHIND if behind else END_OFFSETS_MAX_AGE)
            finally:  # even if that fails: what was polled is not polled again
                self._enqueue(tables, positions)

    def _enqueue(self, tables: list[tuple[Position, EventTable]], positions: dict[Position, int]) -> None:
        with self._changed:
            for position, table in tables:
                self._queues[position].append((table, positions[position]))
                self._queued_rows[position] += len(table)
            self._fetched = positions
            if self._has_rows(self._awaited):
                self._awaited = ()
            self._changed.notify_all()


class _EndOffsets:
    """Offsets after the last records of some partitions, remembered for a while."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._fetched_at = 0.0
        self.known: dict[Position, int] = {}

    def fetch(self, partitions: Iterable[Position]) -> None:
        """Ask the log for the end offsets of these partitions; later calls of `get` are about them."""
        self.known = self._log.end_positions(partitions)
        self._fetched_at = time.monotonic()

    def get(self, max_age: float) -> dict[Position, int]:
        """Return what is known if it is not older than `max_age` seconds, else ask the log."""
        if time.monotonic() - self._fetched_at >= max_age:
            self.fetch(self.known)
        return self.known


def _run(reference: weakref.ref[PrefetchingFetcher]) -> None:
    """Poll as long as somebody refers to the fetcher."""
    while (fetcher := reference()) is not None and fetcher._run_once():
        del fetcher
