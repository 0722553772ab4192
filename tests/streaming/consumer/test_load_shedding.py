"""Load shedding: with hysteresis, counted, of engagements only."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer import consumer as consumer_module
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.load_shedding import LoadShedder
from hsnn.streaming.decode.event_table import RowKind, table_of_records
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Record, RecordBatch
from hsnn.streaming.schema.events import Interaction, Item, encode

NOW = 1_700_000_000


def rows(*ages: float, kind: RowKind = RowKind.INTERACTION):
    records = [Record("engagements", 0, offset, None, b"", (), 0) for offset in range(len(ages))]
    found = table_of_records(RecordBatch.from_records(records), kind)
    found.sent_at[:] = [1000 * (NOW - age) for age in ages]
    return found


def shed(shedder: LoadShedder, *ages: float) -> str:
    found = rows(*ages)
    shedder.mark(found)
    return "".join("x" if kind == RowKind.SHED else "." for kind in found.kind.tolist())


def test_it_begins_above_and_ends_below():
    shedder = LoadShedder(60.0, 5.0, clock=lambda: NOW)
    assert shed(shedder, 50, 59, 70) == "..."  # the next one is not too old yet
    assert shed(shedder, 61, 30, 6) == "xxx"
    assert shedder.shedding
    assert shed(shedder, 30, 5, 30) == "x.."
    assert not shedder.shedding
    assert shed(shedder, 59) == "."


def test_nothing_is_dropped_by_default():
    assert shed(LoadShedder(None, 5.0, clock=lambda: NOW), 1e9, 1e9) == ".."


@pytest.mark.parametrize("kind", [RowKind.ITEM, RowKind.USER, RowKind.CONTROL, RowKind.DEAD, RowKind.DELETED_ITEM])
def test_only_engagements_are_dropped(kind):
    shedder, found = LoadShedder(60.0, 5.0, clock=lambda: NOW), rows(100, 100, kind=kind)
    shedder.mark(found)
    assert np.all(found.kind == kind)


def test_what_is_dropped_is_counted_and_items_are_not(monkeypatch):
    config = StreamingConfig(log="memory", batch_size=8, max_wait=0.0, partitions=1, drop_above=60.0, drop_below=5.0)
    log = MemoryLog()
    for topic in ("engagements", "items"):
        log.create_topic(topic, 1)
    for at in range(6000):
        age = 100 if at < 5900 else 0
        event = Interaction(ts=893_286_638_000 + at, id=at, user="u", item="i", action="view")
        log.append("engagements", [ProducerRecord(b"u", encode(event), (), 1000 * (NOW - age))])
    log.append("items", [ProducerRecord(b"i", encode(Item(ts=893_286_638_000, id="i")), (), 1000 * (NOW - 100))])
    monkeypatch.setattr(
        consumer_module, "LoadShedder", lambda above, below: LoadShedder(above, below, clock=lambda: NOW)
    )
    consumer, found = Consumer(log, config), []
    while (batch := consumer.next_batch(0.0)) is not None:
        found.append(batch)
    assert sum(batch.dropped.get("lag", 0) for batch in found) == 5900
    assert sum(len(batch.engagements) for batch in found) == 100
    assert [item.id for batch in found for item in batch.items] == ["i"]
    assert max(batch.dropped.get("lag", 0) for batch in found) <= 4096, "they do not pile up in one batch"
    assert consumer.counts.delivered + consumer.counts.dropped["lag"] == 6000


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"drop_above": 5.0, "drop_below": 5.0}, "must be less than"),
        ({"drop_above": 60, "tasks": ("click",)}, "negative"),
    ],
)
def test_what_cannot_be_is_refused_in_words(values, said):
    with pytest.raises(ValidationError, match=said):
        StreamingConfig(**values)
