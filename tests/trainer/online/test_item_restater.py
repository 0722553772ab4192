"""Items that are stated again: a fresh start over the compacted topic gives the same catalogue."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.item_life import KnownItem
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.item_restater import ItemRestater
from hsnn.trainer.training.learner import Learner

T0 = 1_700_000_000_000
STREAMING = StreamingConfig(log="memory", batch_size=10, max_wait=0.0, partitions=2)


def read_to_end(log: MemoryLog, config: TrainerConfig) -> tuple[Learner, int]:
    """Let a trainer read the log until it has nothing more to state; return it, and how many items it stated."""
    learner, restater, stated = Learner(config), ItemRestater(log, "items"), 0
    consumer = Consumer(log, STREAMING)
    while (batch := consumer.next_batch(0.02)) is not None:
        prepared = learner.prepare(batch)
        restater.append(prepared.restated)
        stated += len(prepared.restated)
    restater.flush()
    return learner, stated


def catalogue(learner: Learner) -> dict[str, KnownItem]:
    items = learner.items
    known = {name: items.record(row) for row, name in enumerate(items.table.ids)}
    return {name: record for name, record in known.items() if record.announced}


def compacted(log: MemoryLog) -> MemoryLog:
    """Copy the items topic with the last record of each key alone, deletions included."""
    copy = MemoryLog()
    copy.create_topic("items", 2, compacted=True)
    for partition in log._topics["items"]:
        last = {record.key: record for record in partition}
        copy.append("items", [ProducerRecord(r.key, r.value, r.headers, r.sent_at) for r in last.values()])
    return copy


@pytest.mark.slow
def test_a_fresh_start_over_the_compacted_topic_gives_the_same_catalogue(config: TrainerConfig) -> None:
    rng, log = random.Random(0), MemoryLog()
    log.create_topic("items", 2, compacted=True)
    for _ in range(200):
        name, ts = f"i{rng.randrange(20)}", T0 + rng.randrange(100)
        event: dict[str, Any] = {"type": rng.choice(["item", "item_patch"]), "id": name, "ts": ts}
        event["features"] = {rng.choice(["price", "genre"]): rng.randrange(9)}
        if rng.random() < 0.3:
            event["expires_at"] = rng.choice([None, T0 + 10_000 + rng.randrange(9)])
        value = None if rng.random() < 0.1 else json.dumps(event).encode()
        headers = (("ts", str(ts).encode()),) if value is None else ()
        log.append("items", [ProducerRecord(name.encode(), value, headers, T0 + 200)])
    learner, stated = read_to_end(log, config)
    assert stated > 30
    assert 5 < len(catalogue(learner)) <= 20
    again, more = read_to_end(compacted(log), config)
    assert more == 0
    assert catalogue(again) == catalogue(learner)
