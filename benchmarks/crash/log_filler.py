"""Fill a log before the trainer starts: real events, and among them some that are broken or repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.datasets.base import ENGAGEMENTS, ITEMS, USERS
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.schema.commands import encode_end
from hsnn.streaming.schema.events import encode

# records; primes, so that broken and repeated ones meet every partition and place in a batch
_BROKEN_EVERY, _REPEATED_EVERY = 499, 613
# records per append
_CHUNK = 2000


@dataclass(slots=True)
class LogContents:
    """Engagement records in the log: all, those that are no events, and those that repeat one."""

    produced: int = 0
    broken: int = 0
    repeated: int = 0


def fill(log: EventLog, data: Dataset, config: StreamingConfig, on_progress: Callable[[int], object]) -> LogContents:
    """Append all events and the command that ends the stream; report the number of engagements."""
    topics = {ITEMS: config.items_topic, USERS: config.users_topic, ENGAGEMENTS: config.engagements_topic}
    for kind, topic in (*topics.items(), ("control", config.control_topic)):
        log.create_topic(topic, config.partitions, compacted=kind in (ITEMS, USERS))
    contents = LogContents()
    records = _records(data, contents)
    while chunk := list(islice(records, _CHUNK)):
        for kind, topic in topics.items():
            if records_of_kind := [record for record_kind, record in chunk if record_kind == kind]:
                log.append(topic, records_of_kind)
        on_progress(contents.produced)
    value = encode_end(int(data.event_times()[-1]) + 1)
    log.append(
        config.control_topic, [ProducerRecord(None, value, partition=number) for number in range(config.partitions)]
    )
    log.flush()
    return contents


def _records(data: Dataset, contents: LogContents) -> Iterator[tuple[str, ProducerRecord]]:
    for kind, key, event in data.events():
        record = ProducerRecord(key, encode(event))
        yield kind, record
        if kind == ENGAGEMENTS:
            contents.produced += 1
            yield from _bad_records(record, contents)


def _bad_records(record: ProducerRecord, contents: LogContents) -> Iterator[tuple[str, ProducerRecord]]:
    if contents.produced % _BROKEN_EVERY == 0:
        contents.broken, contents.produced = contents.broken + 1, contents.produced + 1
        yield ENGAGEMENTS, record._replace(value=b"{broken")
    if contents.produced % _REPEATED_EVERY == 0:
        contents.repeated, contents.produced = contents.repeated + 1, contents.produced + 1
        yield ENGAGEMENTS, record
