"""Produce: a data set into the log, in event-time order, as live producers would send it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets.base import ENGAGEMENTS, ITEMS, USERS, Dataset
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.producer.pacing import KeyedEvent, Pacer, paced_groups, parse_speed
from hsnn.streaming.producer.records import RecordFormat, to_arrow_records, to_json_records
from hsnn.streaming.schema.commands import encode_end
from hsnn.streaming.schema.events import Event

_GROUP = 1000  # events appended at once
_REPORT_EVERY = 0.25  # seconds
_POLL = 0.01  # seconds between looks at what was learned


@dataclass(frozen=True, slots=True)
class ProduceProgress:
    """What went into the log so far.

    Attributes
    ----------
    engagements, items, users
        Events per topic.
    seconds
        Wall time since the start.
    watermark
        Event time of the last event, epoch ms; None before the first.
    finished
        True once all that was asked for is in the log; stays False when it was stopped early.
    """

    engagements: int
    items: int
    users: int
    seconds: float
    watermark: int | None = None
    finished: bool = False

    @property
    def events_per_second(self) -> float:
        """Events of all topics per second of wall time."""
        return (self.engagements + self.items + self.users) / self.seconds if self.seconds > 0 else 0.0


def produce(
    dataset: Dataset,
    log: EventLog,
    *,
    config: StreamingConfig | None = None,
    speed: str | float = "max",
    limit: int | None = None,
    ahead: int | None = None,
    trained_count: Callable[[], int] | None = None,
    progress: Callable[[ProduceProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    form: RecordFormat = "json",
) -> ProduceProgress:
    """Append the events of a data set, stamped with the wall time of sending, and flush.

    A data set with impressions ends with the command that says that all was sent, so that none of them waits for more.

    Parameters
    ----------
    dataset, log
        From where, to where; topics that do not exist are created, items and users compacted.
    config
        Names of topics, number of partitions.
    speed
        ``"max"``, or a factor such as ``"60x"``: gaps of event time are divided by it, long ones too.
    limit
        Engagements to send; None: all.
    ahead
        Send no engagement while this many in the log are not learned yet; needs `learned`. None: no limit.
    learned
        Engagements the trainer is done with (trained, dead-lettered, dropped), or holds until it can judge them, since
        the oldest record of the log.
    progress
        Called about four times a second, and at the end.
    stop
        Asked between groups; once true, what was appended is flushed and the count returned.
    form
        ``json``: one event per record; ``arrow``: the interactions of a partition in a group together in one.

    Raises
    ------
    ValueError
        `speed`, `limit` or `ahead` makes no sense.
    """
    factor = parse_speed(speed)
    if ahead is not None and (trained_count is None or ahead < 1):
        raise ValueError("ahead must be at least 1, and needs a source of what was learned")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it counts engagements and must be at least 1")
    sender = _Sender(log, config or StreamingConfig(), min(len(dataset), limit or len(dataset)), progress, form)
    gate = _Gate(ahead, trained_count, sender.held()) if ahead is not None and trained_count is not None else None
    size = max(1, min(_GROUP, ahead // 2)) if ahead is not None else _GROUP
    for ready in paced_groups(dataset.events(), Pacer(factor), size, stop):
        group = sender.within(ready)
        if gate is not None and not gate.wait(sender.sent + _engagements(group), sender.report, stop):
            break
        sender.send(group)
        sender.report()
        if sender.finished:
            break
    if sender.finished and dataset.impressions is not None:
        log.flush()
        sender.end()
    log.flush()
    return sender.report(last=True)


def _engagements(group: list[KeyedEvent]) -> int:
    return sum(topic == ENGAGEMENTS for topic, _, _ in group)


class _Gate:
    """Back-pressure: waits until the trainer has learned enough of what is in the log."""

    def __init__(self, ahead: int, learned: Callable[[], int], held: int) -> None:
        self._ahead, self._learned, self._held = ahead, learned, held
        self._known = 0

    def wait(self, sent: int, report: Callable[[], ProduceProgress], stop: Callable[[], bool]) -> bool:
        """Return True once the log may hold `sent` engagements of this run, False if told to stop first."""
        while self._held + sent - self._known > self._ahead:
            self._known = self._learned()
            if self._held + sent - self._known > self._ahead:
                if stop():
                    return False
                report()
                time.sleep(_POLL)
        return True


class _Sender:
    """Appends groups of events, counts and reports them."""

    def __init__(
        self,
        log: EventLog,
        config: StreamingConfig,
        wanted: int,
        progress: Callable[[ProduceProgress], None] | None,
        form: RecordFormat,
    ) -> None:
        self._log, self._config, self._wanted, self._progress, self._form = log, config, wanted, progress, form
        self._topics = {ITEMS: config.items_topic, USERS: config.users_topic, ENGAGEMENTS: config.engagements_topic}
        for name, topic in self._topics.items():
            log.create_topic(topic, config.partitions, compacted=name != ENGAGEMENTS)
        self._counts = dict.fromkeys(self._topics, 0)
        self._start = self._reported = time.monotonic()
        self._watermark: int | None = None

    @property
    def sent(self) -> int:
        return self._counts[ENGAGEMENTS]

    @property
    def finished(self) -> bool:
        return self.sent >= self._wanted

    def held(self) -> int:
        """Count the engagement records that the log holds already; an Arrow record counts as one."""
        topic = self._topics[ENGAGEMENTS]
        parts = [(topic, partition) for partition in self._log.partitions(topic)]
        begin, end = self._log.begin_positions(parts), self._log.end_positions(parts)
        return sum(end[part] - begin.get(part, 0) for part in end)

    def within(self, group: list[KeyedEvent]) -> list[KeyedEvent]:
        """Cut a group after the engagement that reaches the limit."""
        left = self._wanted - self.sent
        if _engagements(group) < left:
            return group
        places = [at for at, (topic, _, _) in enumerate(group) if topic == ENGAGEMENTS]
        return group[: places[left - 1] + 1]

    def send(self, group: list[KeyedEvent]) -> None:
        """Append a group: items and users before the engagements that name them."""
        for name, topic in self._topics.items():
            part = [(key, event) for kind, key, event in group if kind == name]
            if part:
                self._log.append(topic, self._records(name, topic, part))
                self._counts[name] += len(part)
        self._watermark = group[-1][2].ts

    def _records(self, name: str, topic: str, events: list[tuple[bytes, Event]]) -> list[ProducerRecord]:
        now = time.time_ns() // 1_000_000
        if self._form == "arrow" and name == ENGAGEMENTS:
            return to_arrow_records(events, now, len(self._log.partitions(topic)))
        return to_json_records(events, now)

    def end(self) -> None:
        """Tell every rank of the trainer that all events so far were sent."""
        topic = self._config.control_topic
        self._log.create_topic(topic, self._config.partitions)
        value = encode_end((self._watermark or 0) + 1)  # behind everything of the last event's time
        self._log.append(topic, [ProducerRecord(None, value, partition=part) for part in self._log.partitions(topic)])

    def report(self, last: bool = False) -> ProduceProgress:
        """Count what was sent; tell the listener now and then, and the last time."""
        now = time.monotonic()
        counts = self._counts
        produced = ProduceProgress(
            engagements=counts[ENGAGEMENTS],
            items=counts[ITEMS],
            users=counts[USERS],
            seconds=now - self._start,
            watermark=self._watermark,
            finished=self.finished,
        )
        if self._progress is not None and (last or now - self._reported >= _REPORT_EVERY):
            self._reported = now
            self._progress(produced)
        return produced
