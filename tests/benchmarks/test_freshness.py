"""The freshness benchmark: what its producer sends, and a short run through all roles."""

from __future__ import annotations

import json

import pytest

from benchmarks.freshness import __main__
from benchmarks.freshness.producer import ProducerThread
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.memory import MemoryLog


def test_the_source_sends_items_that_come_and_go_and_engagements_with_them():
    log, config = MemoryLog(), StreamingConfig(partitions=2, batch_size=64)
    source = ProducerThread(log, config, items=0, engagements=0, life=20.0)
    source.fill(100, 200)
    source._items(50)
    batches = []
    consumer = Consumer(log, config)
    while (batch := consumer.next_batch(0.5)) is not None:
        batches.append(batch)
    items = {str(item.id): item.expires_at for batch in batches for item in batch.items}
    assert items == {name: end or None for name, end in source.expires_at.items()}
    assert sum(end is not None for end in items.values()) == 25
    assert sum(len(batch.engagements) for batch in batches) == 200
    assert {name for batch in batches for name in batch.engagements.item} <= items.keys()


@pytest.mark.slow
@pytest.mark.long
def test_a_short_run_counts_arrivals_and_departures(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "BASE_ITEMS", 500)
    monkeypatch.setattr(__main__, "BASE_ENGAGEMENTS", 9000)  # the default seeds the nodes after 8,192
    monkeypatch.setattr(__main__, "LIFE", 4.0)
    file = tmp_path / "freshness.json"
    __main__.main(["--items", "20", "--engagements", "200", "--queries", "5", "--seconds", "10", "--json", str(file)])
    found = json.loads(file.read_text())
    assert found["expired_returned"] == 0
    assert found["items_returned"] > 0
    assert found["arrival_seconds"]["count"] > 0  # how many there are within the time depends on the machine
    assert found["departure_seconds"]["count"] > 0
    assert found["lost"] == 0
