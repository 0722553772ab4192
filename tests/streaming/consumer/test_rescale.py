"""Several workers over one log: each event once, whatever their number, before and after it changes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.partition_assignment import PartitionAssignment
from hsnn.streaming.consumer.rescale import pack_states, unpack_state
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.commands import encode_end
from hsnn.trainer.distributed.batch_codec import decode_batch, encode_batch
from hsnn.trainer.distributed.merge_batches import merge_batches

T0 = 893_286_638_000
USERS, ROUNDS = 23, 40
CONFIG = StreamingConfig(
    log="memory",
    batch_size=10,
    max_wait=0.0,
    partitions=5,
    tasks=("click", "view"),
    attribution_window=60.0,
    dedup_window=3600.0,
)
LAST = T0 + 1000 * USERS * ROUNDS


def filled() -> MemoryLog:
    """Shown items, of which every second is clicked at some time within the window; some events are sent twice."""
    log, rng = MemoryLog(), np.random.default_rng(3)
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 5)
    sent: list[tuple[int, str, dict[str, Any]]] = []
    for number in range(USERS * ROUNDS):
        ts, user = T0 + 1000 * number, f"u{number % USERS}"
        shown = {"type": "impression", "id": f"s{number}", "user": user, "items": [f"i{number % 7}", "other"]}
        sent.append((ts, user, shown))
        if number % 2:
            click = {
                "type": "interaction",
                "id": f"c{number}",
                "user": user,
                "item": f"i{number % 7}",
                "action": "click",
            }
            sent.append((ts + int(rng.integers(1, 50_000)), user, click))
    for ts, user, event in sorted(sent, key=lambda one: one[0]):
        value = json.dumps(event | {"ts": ts}).encode()
        again = 1 + (event["id"].endswith("7") and event["type"] == "interaction")
        log.append("engagements", [ProducerRecord(user.encode(), value, sent_at=LAST)] * again)
    log.append("engagements", [ProducerRecord(b"u1", b"{broken", sent_at=LAST)])
    log.append("control", [ProducerRecord(b"", encode_end(LAST + 60_000), sent_at=LAST)])
    return log


def view(log: MemoryLog) -> MemoryLog:
    own = MemoryLog()
    own._topics = log._topics
    return own


def workers(log: MemoryLog, world: int, saved: Any = None) -> list[Consumer]:
    assignments = [PartitionAssignment(rank, world) for rank in range(world)]
    states = [None if saved is None else unpack_state(saved, assignment, ("control",)) for assignment in assignments]
    return [
        Consumer(view(log), CONFIG, state=state, rank=assignment.rank, world_size=world)
        for assignment, state in zip(assignments, states, strict=True)
    ]


def run(consumers: list[Consumer], turns: int | None = None) -> list[Batch]:
    """What the workers make of the log together, turn by turn."""
    found = []
    while turns is None or len(found) < turns:
        batches = [batch for consumer in consumers if (batch := consumer.next_batch(0.0)) is not None]
        if not batches:
            break
        found.append(merge_batches([decode_batch(encode_batch(batch)) for batch in batches]))
    return found


def totals(batches: list[Batch]) -> dict[str, Any]:
    labelled = [
        (ts, user, item, *labels)
        for some in (batch.labelled_impressions for batch in batches)
        for ts, user, item, labels in zip(some.ts.tolist(), some.user, some.item, some.labels.tolist(), strict=True)
    ]
    return {
        "delivered": sum(len(batch.engagements) for batch in batches),
        "impressions": sum(batch.impressions for batch in batches),
        "dead": sum(batch.dead_lettered for batch in batches),
        "dropped": dict(sum((Counter(batch.dropped) for batch in batches), Counter())),
        "labelled": sorted(labelled),
        "clicks": sorted(
            (ts, user) for b in batches for ts, user in zip(b.engagements.ts, b.engagements.user, strict=True)
        ),
    }


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return filled()


@pytest.fixture(scope="module")
def alone(log: MemoryLog) -> dict[str, Any]:
    return totals(run(workers(log, 1)))


def test_the_stream_holds_what_the_tests_need(alone):
    assert alone["impressions"] == USERS * ROUNDS
    assert alone["dead"] == 1
    assert alone["dropped"] == {"duplicate": USERS * ROUNDS // 10}
    assert sum(row[3] for row in alone["labelled"]) > 0.4 * USERS * ROUNDS


@pytest.mark.parametrize("world", [2, 3, 5])
def test_any_number_of_workers_gives_the_same_totals(log, alone, world):
    consumers = workers(log, world)
    assert totals(run(consumers)) == alone
    assert sum(consumer.pending for consumer in consumers) == 0
    assert all(consumer.idle and consumer.lag() == (0, 0.0) for consumer in consumers)


@pytest.mark.slow
@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), (2, 3), (3, 2), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("turns", [1, 6])
def test_another_number_of_workers_goes_on_with_nothing_lost_or_doubled(log, alone, worlds, turns):
    saved, found, pending = None, [], 0
    for world in worlds:
        consumers = workers(log, world, saved)
        assert sum(consumer.pending for consumer in consumers) == pending
        found += run(consumers, turns if world is not worlds[-1] else None)
        saved = pack_states([consumer.state_dict() for consumer in consumers])
        pending = sum(consumer.pending for consumer in consumers)
    assert pending == 0
    assert totals(found) == alone
    assert packed_counts(saved)["delivered"] == alone["delivered"]


def packed_counts(saved: Any) -> Counter[str]:
    states = saved.get("workers", [saved])
    return Counter({"delivered": sum(state["counts"]["delivered"] for state in states)})


def test_the_same_number_gets_its_states_back(log):
    consumers = workers(log, 3)
    run(consumers, 5)
    states = [consumer.state_dict() for consumer in consumers]
    saved = pack_states(states)
    for rank, state in enumerate(states):
        assert unpack_state(saved, PartitionAssignment(rank, 3), ("control",)) == state | {"sent_at": saved["sent_at"]}
    assert pack_states(states[:1]) is states[0]
    assert {tuple(place[:2]) for place in saved["places"]} == {
        (topic, p) for topic in ("engagements", "items", "users", "control") for p in range(5)
    }


def test_the_watermark_goes_on_from_the_slowest(log):
    consumers = workers(log, 2)
    run(consumers, 3)
    run(consumers[:1], 20)
    states = [consumer.state_dict() for consumer in consumers]
    ahead, behind = (state["watermark"]["value"] for state in states)
    assert ahead > behind
    assert unpack_state(pack_states(states), PartitionAssignment(0, 1), ("control",))["watermark"]["value"] == behind
