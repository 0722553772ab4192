"""Send a data set to a log in event-time order, as live producers would."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets.base import ENGAGEMENTS, ITEMS, USERS, Dataset
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.producer.commands import send_command
from hsnn.streaming.producer.pacing import KeyedEvent, Pacer, paced_groups, parse_speed
from hsnn.streaming.producer.records import RecordFormat, to_arrow_records, to_json_records
from hsnn.streaming.schema.commands import End
from hsnn.streaming.schema.events import Event

# Events appended together: enough that the round trip to the log hardly counts.
_GROUP_EVENTS = 1000

# Seconds between reports of progress: often enough for a display.
_REPORT_SECONDS = 0.25

# Seconds between reads of the trainer's progress while the log is full: short beside the time of a training batch.
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ProduceProgress:
    """What was appended to the log so far.

    Attributes
    ----------
    engagements, items, users
        Events per topic.
    seconds
        Wall time since the start.
    watermark
        Event time of the last event, epoch ms; None before the first.
    finished
        Whether everything requested is in the log; stays False when stopped early.
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

    After a data set with impressions, the command `End` is sent, so that no impression waits for further actions.

    Parameters
    ----------
    dataset, log
        Source and target; missing topics are created, those of items and users compacted.
    config
        Has the names of topics and the number of partitions.
    speed
        ``"max"``, or a factor such as ``"60x"``: gaps of event time are divided by it, long ones too.
    limit
        Engagements to send; None: all.
    ahead
        Send no engagement while this many in the log are not trained yet; needs `trained_count`. None: no limit.
    trained_count
        Returns how many engagements since the oldest record of the log the trainer is done with (trained,
        dead-lettered, dropped) or holds until their labels are due.
    progress
        Called about four times a second, and at the end.
    stop
        Called between groups; once it returns True, what was appended is flushed and the count returned.
    form
        ``json``: one event per record; ``arrow``: the interactions of a partition in a group together in one record.

    Raises
    ------
    ValueError
        `speed`, `limit` or `ahead` is out of range.
    """
    factor = parse_speed(speed)
    if ahead is not None and (trained_count is None or ahead < 1):
        raise ValueError("ahead must be at least 1, and needs a source of what was learned")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it counts engagements and must be at least 1")
    sender = _DatasetSender(
        log,
        config or StreamingConfig(),
        limit=min(len(dataset), limit or len(dataset)),
        progress=progress,
        form=form,
    )
    backpressure = None
    if ahead is not None and trained_count is not None:
        backpressure = _Backpressure(ahead, trained_count, sender.count_stored())
    size = max(1, min(_GROUP_EVENTS, ahead // 2)) if ahead is not None else _GROUP_EVENTS
    for ready in paced_groups(dataset.events(), Pacer(factor), size, stop):
        group = sender.cut_at_limit(ready)
        sent = sender.sent + _count_engagements(group)
        if backpressure is not None and not backpressure.wait(sent, sender.report, stop):
            break
        sender.send(group)
        sender.report()
        if sender.finished:
            break
    if sender.finished and dataset.impressions is not None:
        log.flush()
        sender.send_end()
    log.flush()
    return sender.report(last=True)


def _count_engagements(group: list[KeyedEvent]) -> int:
    return sum(topic == ENGAGEMENTS for topic, _, _ in group)


class _Backpressure:
    """Waits until the trainer has processed enough of what is in the log."""

    def __init__(self, ahead: int, trained_count: Callable[[], int], stored: int) -> None:
        self._ahead, self._trained_count, self._stored = ahead, trained_count, stored
        self._trained = 0

    def wait(self, sent: int, report: Callable[[], ProduceProgress], stop: Callable[[], bool]) -> bool:
        """Return True once the log may hold `sent` engagements of this run, False if `stop` returns True first."""
        while self._stored + sent - self._trained > self._ahead:
            self._trained = self._trained_count()
            if self._stored + sent - self._trained > self._ahead:
                if stop():
                    return False
                report()
                time.sleep(_POLL_SECONDS)
        return True


class _DatasetSender:
    """Appends groups of events, counts and reports them."""

    def __init__(
        self,
        log: EventLog,
        config: StreamingConfig,
        *,
        limit: int,
        progress: Callable[[ProduceProgress], None] | None,
        form: RecordFormat,
    ) -> None:
        self._log, self._config, self._limit, self._progress, self._form = log, config, limit, progress, form
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
        return self.sent >= self._limit

    def count_stored(self) -> int:
        """Count the engagement records that the log holds already; an Arrow record counts as one."""
        topic = self._topics[ENGAGEMENTS]
        parts = [(topic, partition) for partition in self._log.partitions(topic)]
        begin, end = self._log.begin_positions(parts), self._log.end_positions(parts)
        return sum(end[part] - begin.get(part, 0) for part in end)

    def cut_at_limit(self, group: list[KeyedEvent]) -> list[KeyedEvent]:
        """Cut a group after the engagement that reaches the limit."""
        left = self._limit - self.sent
        if _count_engagements(group) < left:
            return group
        engagements = [index for index, (topic, _, _) in enumerate(group) if topic == ENGAGEMENTS]
        return group[: engagements[left - 1] + 1]

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

    def send_end(self) -> None:
        """Declare to every rank of the trainer that all events so far were sent."""
        # Later than the last event, so that the command follows every event of that time.
        send_command(self._log, self._config, End((self._watermark or 0) + 1))

    def report(self, last: bool = False) -> ProduceProgress:
        """Return what was sent so far; call `progress` with it if a report is due or this is the last one."""
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
        if self._progress is not None and (last or now - self._reported >= _REPORT_SECONDS):
            self._reported = now
            self._progress(produced)
        return produced
