"""Progress of a consumer: states, restarts, positions, ranks, lag."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.errors import OutOfRangeError, StateError
from hsnn.streaming.log.memory import MemoryLog
from tests.streaming.mixed_stream import (
    CONFIG,
    JOIN_CONFIG,
    START,
    FlushTrackingLog,
    batch_contents,
    dead_letters,
    drain,
    fill_mixed,
    interaction,
    log_view,
    send,
)


@pytest.mark.slow
@pytest.mark.parametrize("config", [CONFIG, JOIN_CONFIG], ids=["plain", "joined"])
@pytest.mark.parametrize("stop", [1, 7, 30, 60])
def test_a_restart_from_the_state_goes_on_with_the_same_batches(stop: int, config: StreamingConfig) -> None:
    log = MemoryLog()
    fill_mixed(log, seed=3)
    undisturbed = Consumer(log, config)
    expected = [batch_contents(batch) for batch in drain(undisturbed)]
    letters = dead_letters(log)
    first = Consumer(log, config)
    found = [batch_contents(batch) for _ in range(stop) if (batch := first.next_batch(0.05)) is not None]
    second = Consumer(log, config, state=msgspec.json.decode(msgspec.json.encode(first.state_dict())))
    assert found + [batch_contents(batch) for batch in drain(second)] == expected
    assert second.state_dict() == undisturbed.state_dict()
    assert dead_letters(log) == letters, "dead letters are written once"


def test_a_state_of_other_tasks_is_refused() -> None:
    state = Consumer(MemoryLog(), JOIN_CONFIG).state_dict()
    for tasks in ((), ("click",)):
        with pytest.raises(StateError, match="set it back"):
            Consumer(MemoryLog(), JOIN_CONFIG.model_copy(update={"tasks": tasks}), state=state)


def test_ranks_share_the_partitions() -> None:
    log = MemoryLog()
    fill_mixed(log, 400, seed=4)
    consumers = [Consumer(log_view(log), CONFIG, rank=rank, world_size=3) for rank in range(3)]
    owned = [{place for place in consumer.owned if place[0] != "control"} for consumer in consumers]
    assert sum(map(len, owned)) == len(set().union(*owned)) == 12
    assert all(p % 3 == rank for rank, places in enumerate(owned) for _, p in places)
    assert all(("control", p) in consumer.owned for consumer in consumers for p in range(4))  # commands are for all
    single = Consumer(log_view(log), CONFIG)
    drain(single)
    for consumer in consumers:
        drain(consumer)
    assert sum(consumer.counts.delivered for consumer in consumers) == single.counts.delivered


def test_lag_counts_what_was_not_delivered() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(START + i) for i in range(25)))
    consumer = Consumer(log, CONFIG)
    assert consumer.lag()[0] == 25
    consumer.next_batch(0.1)
    records, seconds = consumer.lag()
    assert records == 15
    assert seconds > 20 * 365 * 86400
    drain(consumer)
    assert consumer.lag() == (0, 0.0)


def test_positions_are_published_on_demand_only() -> None:
    log = MemoryLog()
    send(log, "engagements", interaction(START))
    consumer = Consumer(log, CONFIG)
    (batch,) = drain(consumer)
    assert log.committed("hsnn", consumer.owned) == {}
    consumer.commit(batch.positions)
    assert log.committed("hsnn", consumer.owned) == batch.positions


def test_given_positions_and_watermark_are_where_it_starts() -> None:
    log = MemoryLog()
    send(log, "engagements", *(interaction(START + i, item=str(i)) for i in range(9)), partition=1)
    consumer = Consumer(log, CONFIG, positions={("engagements", 1): 6}, watermark=START + 50)
    (batch,) = drain(consumer)
    assert batch.engagements.item == ["6", "7", "8"]
    assert batch.watermark == START + 50


def test_a_replaced_log_is_noticed() -> None:
    with pytest.raises(OutOfRangeError, match="the log was replaced"):
        Consumer(MemoryLog(), CONFIG, positions={("engagements", 1): 6})


@pytest.mark.parametrize(
    "state", [{}, {"version": 99}, {"version": 1, "places": [[1]], "watermark": {}, "counts": {}, "sent_at": 0}]
)
def test_a_malformed_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(StateError):
        Consumer(MemoryLog(), CONFIG, state=state)


def test_a_state_of_another_rank_is_refused() -> None:
    log = MemoryLog()
    state = Consumer(log, CONFIG, rank=1, world_size=2).state_dict()
    with pytest.raises(StateError, match="does not own"):
        Consumer(log, CONFIG, rank=0, world_size=2, state=state)
    with pytest.raises(ValueError, match="rank 2"):
        Consumer(log, CONFIG, rank=2, world_size=2)


def test_dead_letters_are_durable_before_a_state_that_lies_behind_them() -> None:
    log = FlushTrackingLog()
    send(log, "engagements", b"?", interaction(START))
    log.flush()
    consumer = Consumer(log, CONFIG)
    drain(consumer)
    assert log.unflushed == 1
    consumer.state_dict()
    assert log.unflushed == 0
