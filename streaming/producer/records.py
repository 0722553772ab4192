"""Encoding of engagements as records: one event each as JSON, or the interactions of a partition together as Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.columns import InteractionColumns
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


def columns_to_arrow_records(columns: InteractionColumns, now: int, partitions: int) -> list[ProducerRecord]:
    """Divide interactions among the partitions of their users, one record each, stamped `now` (epoch ms).

    Examples
    --------
    >>> from hsnn.streaming.schema.arrow import read_interactions
    >>> columns = read_interactions(write_interactions([5, 6], ["u", "v"], ["a", "b"], ["click", "view"]))
    >>> [record.partition for record in columns_to_arrow_records(columns, 7, 4)]
    [1, 3]
    """
    users, inverse = np.unique(columns.user.astype(str), return_inverse=True)
    chosen = np.array([partition_of(user.encode(), partitions) for user in users.tolist()], np.int64)[inverse]
    records = []
    for partition in np.unique(chosen).tolist():
        rows = chosen == partition
        optional = {
            name: None if column is None else column[rows].tolist()
            for name, column in (("context", columns.context), ("id", columns.id), ("impression", columns.impression))
        }
        values = [
            None if missing else value
            for value, missing in zip(columns.value[rows].tolist(), np.isnan(columns.value[rows]).tolist(), strict=True)
        ]
        record = write_interactions(
            ts=columns.ts[rows],
            user=columns.user[rows].tolist(),
            item=columns.item[rows].tolist(),
            action=columns.action[rows].tolist(),
            value=values,
            **optional,
        )
        records.append(ProducerRecord(None, record, sent_at=now, partition=partition))
    return records


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
