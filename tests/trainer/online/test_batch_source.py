"""Batch sources: the rounds of several workers, the same ones in every run."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import Any

import pytest

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer, WindowSizes
from hsnn.streaming.consumer.partition_assignment import PartitionAssignment
from hsnn.streaming.consumer.rescale import unpack_state
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.schema.commands import encode_end
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.distributed.process_group import DivergedWorkersError, ProcessGroup
from hsnn.trainer.online.batch_source import DistributedBatchSource, LocalBatchSource

T0 = 893_286_638_000
EVENTS = 300
CONFIG = StreamingConfig(log="memory", batch_size=16, max_wait=0.0, partitions=3, dedup_window=0.0)


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    """Clicks of 20 users in three partitions, and one command."""
    made = MemoryLog()
    for topic in ("engagements", "items", "users", "control"):
        made.create_topic(topic, 3)
    for number in range(EVENTS):
        event = Interaction(id=number, ts=T0 + number * 1000, user=f"u{number % 20}", item="i", action="click")
        made.append("engagements", [ProducerRecord(f"u{number % 20}".encode(), encode(event), sent_at=T0 + 86_400_000)])
    made.append("control", [ProducerRecord(b"", encode_end(T0), sent_at=T0 + 86_400_000)])
    return made


class Hesitating(MemoryLog):
    """Gives few records at a time, and often none."""

    def __init__(self, log: MemoryLog, seed: int) -> None:
        super().__init__()
        self._topics, self._random = log._topics, random.Random(seed)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        if self._random.random() < 0.5:
            time.sleep(min(timeout, 0.001))
            return []
        return super().poll(self._random.randint(1, 20), 0.0, partitions)


def make_source(log: MemoryLog, world: ProcessGroup, seed: int) -> tuple[Consumer, DistributedBatchSource]:
    own = Hesitating(log, seed * 10 + world.rank)
    consumer = Consumer(own, CONFIG, rank=world.rank, world_size=world.size)
    return consumer, DistributedBatchSource(consumer, world)


def course(log: MemoryLog, world: ProcessGroup, seed: int) -> list[list[tuple[int, str]]]:
    """The batch of each round, until the log is drained in all workers."""
    consumer, source = make_source(log, world, seed)
    found: list[list[tuple[int, str]]] = []
    while True:
        turn = source.next_round(0.01, stop=consumer.idle)
        if turn.batch is not None:
            assert turn.aligned
            events = turn.batch.engagements
            found.append(list(zip(events.ts.tolist(), events.user, strict=True)))
        if turn.stop and sum(map(len, found)) == EVENTS:
            return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_rounds_are_the_same_in_all_workers_and_in_every_run(log, together, size):
    runs = [course_of for seed in range(3) for course_of in together(size, lambda world, s=seed: course(log, world, s))]
    assert all(run == runs[0] for run in runs)
    assert sorted(event for turn in runs[0] for event in turn) == [
        (T0 + number * 1000, f"u{number % 20}") for number in range(EVENTS)
    ]
    assert [len(turn) for turn in runs[0][:3]] == [16 * size] * 3


def test_a_stop_of_one_worker_stops_all_at_an_aligned_round(log, together):
    def work(world: ProcessGroup) -> tuple[int, dict[str, Any]]:
        _, source = make_source(log, world, 5)
        learned = steps = 0
        while True:
            turn = source.next_round(0.01, stop=world.rank == 1 and steps >= 2)
            if turn.batch is not None:
                steps, learned = steps + 1, learned + len(turn.batch.engagements)
            if turn.stop:
                return learned, source.state_dict()

    (learned, state), other = together(2, work)
    assert other == (learned, state)
    delivered = [
        unpack_state(state, PartitionAssignment(rank, 2), ("control",))["counts"]["delivered"] for rank in range(2)
    ]
    assert sum(delivered) == learned < EVENTS


def test_commands_come_from_the_first_worker(log, together):
    def work(world: ProcessGroup) -> list[bytes]:
        consumer, source = make_source(log, world, 1)
        heard: list[bytes] = []
        while not ((turn := source.next_round(0.01, stop=consumer.idle)).stop and turn.batch is None):
            heard += turn.batch.control if turn.batch is not None else ()
        return heard

    assert together(2, work) == [[encode_end(T0)]] * 2


def test_diverged_workers_are_detected(log, together):
    def work(world: ProcessGroup) -> None:
        _, source = make_source(log, world, 1)
        world.fingerprint = world.rank
        with pytest.raises(DivergedWorkersError, match="worker 1 has not made the same last step as worker 0"):
            source.next_round(0.01, stop=False)

    together(2, work)


def test_the_first_worker_decides_and_lag_is_the_sum_of_all(log, together):
    def work(world: ProcessGroup) -> tuple[bool, int, int]:
        _, source = make_source(log, world, 1)
        source.next_round(0.0, stop=False)
        return source.broadcast_decision(world.rank == 0), source.lag()[0], source.pending

    assert together(2, work) == [(True, EVENTS + 1, 0)] * 2


def test_what_is_remembered_is_added_up_over_the_workers(log, together):
    config = CONFIG.model_copy(update={"dedup_window": 3600.0})

    def work(world: ProcessGroup) -> WindowSizes:
        consumer = Consumer(Hesitating(log, world.rank), config, rank=world.rank, world_size=world.size)
        source = DistributedBatchSource(consumer, world)
        while not ((turn := source.next_round(0.01, stop=consumer.idle)).stop and turn.batch is None):
            pass
        return source.window_sizes()

    first, second = together(2, work)
    assert first == second
    assert (first.shown_items, first.waiting_actions, first.event_keys) == (0, 0, EVENTS)
    assert first.event_key_bytes > 100 * EVENTS


def test_a_single_worker_decides_alone(log):
    consumer = Consumer(Hesitating(log, 1), CONFIG)
    source = LocalBatchSource(consumer)
    assert source.broadcast_decision(True)
    assert not source.broadcast_decision(False)
    assert source.next_round(0.01, stop=True) == (None, True, True)
    assert source.state_dict() == consumer.state_dict()
    assert source.lag()[0] == EVENTS + 1


def test_workers_agree_where_some_own_no_partition_of_a_topic(together):
    few = MemoryLog()
    for topic, partitions in (("engagements", 2), ("items", 1), ("users", 1), ("control", 1)):
        few.create_topic(topic, partitions)
    for number in range(40):
        event = Interaction(id=number, ts=T0 + number * 1000, user=f"u{number}", item="i", action="click")
        few.append("engagements", [ProducerRecord(b"u", encode(event), sent_at=T0 + 86_400_000, partition=number % 2)])

    def work(world: ProcessGroup) -> int:
        consumer, source = make_source(few, world, 1)
        learned = 0
        while not ((turn := source.next_round(0.01, stop=consumer.idle)).stop and turn.batch is None):
            learned += 0 if turn.batch is None else len(turn.batch.engagements)
        assert source.lost_records() == {}
        return learned

    assert together(2, work) == [40, 40]
