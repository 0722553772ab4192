"""Encoding of engagements as records: one event each as JSON, or the interactions of a partition together as Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.events import Event, Interaction, encode

RecordFormat = Literal["json", "arrow"]

_Keyed = tuple[bytes, Event]


def to_json_records(events: Iterable[_Keyed], now: int) -> list[ProducerRecord]:
    """Encode each event as one record, stamped `now` (epoch ms)."""
    return [ProducerRecord(key, encode(event), (), now) for key, event in events]


def to_arrow_records(events: Sequence[_Keyed], now: int, partitions: int) -> list[ProducerRecord]:
    """Encode consecutive interactions of one partition as one record; other events stay JSON.

    The order within each partition is kept, and a user's events go to the same partition as JSON events would.

    Examples
    --------
    >>> events = [(b"u", Interaction(id=n, ts=n, user="u", item="i", action="click")) for n in range(3)]
    >>> [record.partition is not None for record in to_arrow_records(events, 7, 4)]
    [True]
    """
    runs: dict[int, list[Interaction]] = {}
    records: list[ProducerRecord] = []
    for key, event in events:
        partition = partition_of(key, partitions)
        if isinstance(event, Interaction):
            runs.setdefault(partition, []).append(event)
            continue
        if run := runs.pop(partition, None):
            records.append(_pack(run, now, partition))
        records.append(ProducerRecord(key, encode(event), sent_at=now, partition=partition))
    return records + [_pack(run, now, partition) for partition, run in sorted(runs.items())]


def _pack(events: list[Interaction], now: int, partition: int) -> ProducerRecord:
    value = write_interactions(
        ts=[event.ts for event in events],
        user=[str(event.user) for event in events],
        item=[str(event.item) for event in events],
        action=[event.action for event in events],
        value=[event.value for event in events],
        context=[event.context for event in events],
        id=[str(event.id) for event in events],
        impression=[None if event.impression is None else str(event.impression) for event in events],
    )
    return ProducerRecord(None, value, sent_at=now, partition=partition)
