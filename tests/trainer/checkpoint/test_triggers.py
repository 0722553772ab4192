"""Checkpoints by events or stream time lie at multiples, whatever the wall clock does."""

from __future__ import annotations

from hsnn.trainer.checkpoint.triggers import CheckpointTriggers
from hsnn.trainer.config.model import TrainerConfig


def due(triggers: CheckpointTriggers, course: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [at for at in course if triggers.passed(*at)]


def test_off_unless_asked_for():
    assert due(CheckpointTriggers(TrainerConfig(), 0, 0), [(10**9, 10**15)]) == []


def test_every_so_many_events_once_per_multiple():
    config = TrainerConfig(checkpoint_events=100)
    course = [(at, 0) for at in range(0, 1001, 64)]
    assert [at for at, _ in due(CheckpointTriggers(config, 0, 0), course)] == [
        128,
        256,
        320,
        448,
        512,
        640,
        704,
        832,
        960,
    ]


def test_a_restart_goes_on_with_the_same_multiples():
    config = TrainerConfig(checkpoint_events=100, checkpoint_time=5.0)
    course = [(at, 1_000_000 + 30 * at) for at in range(0, 2001, 64)]
    straight = due(CheckpointTriggers(config, 0, 1_000_000), course)
    for stop in range(len(course)):
        again = CheckpointTriggers(config, *course[stop])
        assert due(again, course[stop + 1 :]) == [at for at in straight if at > course[stop]]


def test_stream_time_counts_in_its_own_multiples():
    config = TrainerConfig(checkpoint_time="1m")
    course = [(1, 59_999), (2, 60_000), (3, 60_001), (4, 119_000), (5, 300_000), (6, 300_000)]
    assert [at for at, _ in due(CheckpointTriggers(config, 0, 0), course)] == [2, 5]
