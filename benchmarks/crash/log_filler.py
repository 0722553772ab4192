"""A log that is full before the trainer starts: real events, and among them some that are broken or come twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.datasets.base import ENGAGEMENTS, ITEMS, USERS
from hsnn.streaming.log.base import EventLog, Outgoing
from hsnn.streaming.schema.commands import end
from hsnn.streaming.schema.events import encode

_BROKEN_EVERY, _TWICE_EVERY, _CHUNK = 499, 613, 2000


@dataclass(slots=True)
class Filled:
    """Engagement records in the log: all, those that are no events, and those that repeat one."""

    produced: int = 0
    broken: int = 0
    twice: int = 0


def fill(log: EventLog, data: Dataset, config: StreamingConfig, told: Callable[[int], object]) -> Filled:
    """Append all events and the command that ends the stream; `told` how many engagements are in the log."""
    topics = {ITEMS: config.items_topic, USERS: config.users_topic, ENGAGEMENTS: config.engagements_topic}
    for kind, topic in (*topics.items(), ("control", config.control_topic)):
        log.create_topic(topic, config.partitions, compacted=kind in (ITEMS, USERS))
    filled = Filled()
    records = _records(data, filled)
    while chunk := list(islice(records, _CHUNK)):
        for kind, topic in topics.items():
            if some := [record for of, record in chunk if of == kind]:
                log.append(topic, some)
        told(filled.produced)
    value = end(int(data.times()[-1]) + 1)
    log.append(config.control_topic, [Outgoing(None, value, partition=at) for at in range(config.partitions)])
    log.flush()
    return filled


def _records(data: Dataset, filled: Filled) -> Iterator[tuple[str, Outgoing]]:
    for kind, key, event in data.events():
        record = Outgoing(key, encode(event))
        yield kind, record
        if kind == ENGAGEMENTS:
            filled.produced += 1
            yield from _oddities(record, filled)


def _oddities(record: Outgoing, filled: Filled) -> Iterator[tuple[str, Outgoing]]:
    if filled.produced % _BROKEN_EVERY == 0:
        filled.broken, filled.produced = filled.broken + 1, filled.produced + 1
        yield ENGAGEMENTS, record._replace(value=b"{broken")
    if filled.produced % _TWICE_EVERY == 0:
        filled.twice, filled.produced = filled.twice + 1, filled.produced + 1
        yield ENGAGEMENTS, record
