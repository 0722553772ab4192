"""Append the events of many calls to the log together, from one thread; a call is answered when its own are durable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

from hsnn.serving.errors import BackpressureError, DeadlineError, EventsNotTakenError
from hsnn.serving.ingest.events import IngestBatch
from hsnn.serving.metrics import ServingMetrics
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import AppendError, LogUnavailableError, StreamingError
from hsnn.streaming.log.base import EventLog, ProducerRecord, StatesDurability
from hsnn.streaming.log.open import mask_secrets
from hsnn.streaming.schema.topics import TopicRole

_log = logging.getLogger(__name__)

# Events that are appended together: some ten milliseconds of the log's time, so that no call waits long for others.
_GROUP_EVENTS = 5000

# Events that wait at most: a few seconds of a log that takes tens of thousands a second. Further calls are refused.
_MOST_WAITING = 50_000

# Seconds after which a caller may send again what there was no room for, or what the log did not take.
_RETRY_AFTER = 1.0

# Seconds that `close` waits for the events that were taken over.
_CLOSE_SECONDS = 5.0

# Order of the appends: an engagement must not come before what it names.
_ORDER = (TopicRole.ITEMS, TopicRole.USERS, TopicRole.ENGAGEMENTS)


class _Waiting(NamedTuple):
    batch: IngestBatch
    done: Future[None]


class EventAppender:
    """Appends events to the log.

    Events of calls that wait at the same time are appended and flushed together, so that the log confirms thousands of
    events at the price of one call.

    Parameters
    ----------
    open_log
        Opens the log; called in the thread, again while it fails.
    config
        Names of the topics, which are created where they do not exist.
    most_waiting
        Events that may wait; beyond it `append` refuses.
    """

    def __init__(
        self,
        open_log: Callable[[], EventLog],
        config: StreamingConfig,
        metrics: ServingMetrics,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self._open_log, self._config, self._metrics = open_log, config, metrics
        self._topics = {
            TopicRole.ITEMS: config.items_topic,
            TopicRole.USERS: config.users_topic,
            TopicRole.ENGAGEMENTS: config.engagements_topic,
        }
        self._most_waiting, self._waiting, self._lock = most_waiting, 0, Lock()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._log: EventLog | None = None
        self._partitions = 0  # of the engagements; asked for once, as a log does with those of its keys
        self._failing = False
        self._thread = Thread(target=self._run, name="event appender", daemon=True)
        self._thread.start()

    async def append(self, batch: IngestBatch, seconds: float) -> None:
        """Return once every event of a batch is durable in the log.

        Raises
        ------
        BackpressureError
            Too many events wait already; none of these was appended.
        EventsNotTakenError
            The log did not confirm them; some may be in it.
        DeadlineError
            It has not confirmed them after `seconds`.
        """
        count = len(batch)
        with self._lock:
            if self._waiting and self._waiting + count > self._most_waiting:
                raise BackpressureError(
                    f"{self._waiting} events wait for the log already; send these again in {_RETRY_AFTER:g} s",
                    _RETRY_AFTER,
                )
            self._waiting += count
            self._metrics.ingest_waiting.set(self._waiting)
        waiting = _Waiting(batch, Future())
        waiting.done.add_done_callback(lambda _: self._count_down(count))
        self._queue.put(waiting)
        try:
            await asyncio.wait_for(asyncio.wrap_future(waiting.done), seconds)
        except TimeoutError:
            raise DeadlineError(
                f"the log has not confirmed the events within {seconds:g} s; send them again with the same ids: those "
                "that are in it count once"
            ) from None

    def close(self) -> None:
        """Append what was taken over, and close the log."""
        self._queue.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _count_down(self, count: int) -> None:
        with self._lock:
            self._waiting -= count
            self._metrics.ingest_waiting.set(self._waiting)

    def _run(self) -> None:
        self._connect()
        while (first := self._queue.get()) is not None:
            group = self._gather(first)
            # A call that gave up while it waited is not appended.
            if group := [waiting for waiting in group if waiting.done.set_running_or_notify_cancel()]:
                self._append_group(group)
        if self._log is not None:
            self._log.close()

    def _gather(self, first: _Waiting) -> list[_Waiting]:
        """Return a call with those that wait behind it."""
        group, events = [first], len(first.batch)
        while events < _GROUP_EVENTS:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                self._queue.put(None)
                break
            group.append(waiting)
            events += len(waiting.batch)
        return group

    def _append_group(self, group: Sequence[_Waiting]) -> None:
        try:
            self._append([waiting.batch for waiting in group])
        except AppendError as error:
            if len(group) > 1:  # perhaps one call has what the log refuses: the others must not suffer for it
                for waiting in group:
                    self._append_group([waiting])
            else:
                self._fail(group, error)
        except Exception as error:
            self._fail(group, error)
        else:
            if self._failing:
                self._failing = False
                _log.warning("the event log takes events over HTTP again")
            for waiting in group:
                waiting.done.set_result(None)

    def _append(self, batches: Sequence[IngestBatch]) -> None:
        log = self._log or self._connect()
        if log is None:
            raise LogUnavailableError("the event log could not be opened")
        began, counts = time.perf_counter(), dict.fromkeys(_ORDER, 0)
        for role in _ORDER:
            records: list[ProducerRecord] = []
            for batch in batches:
                counts[role] += len(batch.records.get(role, []))
                if role is TopicRole.ENGAGEMENTS:
                    counts[role] += batch.rows
                    records += batch.engagement_records(self._partitions)
                else:
                    records += batch.records.get(role, [])
            if records:
                log.append(self._topics[role], records)
        log.flush()
        self._metrics.ingest_seconds.observe(time.perf_counter() - began)
        for role, count in counts.items():
            if count:
                self._metrics.ingested.labels(self._topics[role]).inc(count)

    def _connect(self) -> EventLog | None:
        """Open the log and create its topics; None, with a log line, if that fails."""
        address = mask_secrets(self._config.log)
        log: EventLog | None = None
        try:
            log = self._open_log()
            for role, topic in self._topics.items():
                log.create_topic(topic, self._config.partitions, compacted=role is not TopicRole.ENGAGEMENTS)
            partitions = len(log.partitions(self._topics[TopicRole.ENGAGEMENTS]))
            survives = f"; {log.durability()}" if isinstance(log, StatesDurability) else ""
        except Exception as error:
            if not self._failing:
                _log.warning("no events are taken over HTTP until %s answers: %s", address, error)
            self._failing = True
            if log is not None:
                log.close()
            return None
        _log.info("events over HTTP go to %s%s", address, survives)
        self._log, self._partitions, self._failing = log, partitions, False
        return log

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        if not self._failing:
            _log.error("events over HTTP were not appended: %s", error, exc_info=not isinstance(error, StreamingError))
        self._failing = True
        for waiting in group:
            self._metrics.ingest_failures.inc()
            waiting.done.set_exception(
                EventsNotTakenError(
                    "the event log did not confirm the events; send them again with the same ids: those that are in "
                    "it count once",
                    _RETRY_AFTER,
                )
            )
