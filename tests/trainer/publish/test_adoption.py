"""Snapshots of which no version is made raise one alarm, until one is."""

from __future__ import annotations

import json

import pytest

from hsnn.streaming.redis.keys import key
from hsnn.trainer.metrics import UNADOPTED_SECONDS
from hsnn.trainer.publish.adoption import KIND, AdoptionWatch


class Clock:
    """Monotonic seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(redis_client, clock) -> AdoptionWatch:
    return AdoptionWatch(redis_client, within=600.0, clock=clock)


def adopt(redis_client, version: int, snapshot: int) -> None:
    redis_client.hset(key("version", version), "version", json.dumps({"snapshot": snapshot}))
    redis_client.set(key("current"), version)


def test_no_scheduler_is_one_alarm(watch, clock):
    for number in range(1, 21):
        watch.note_published(number)
        clock.now += 60.0
        alarm = watch.check(watermark=7)
        if number == 11:
            assert (alarm.kind, alarm.ts, alarm.id) == (KIND, 7, f"{KIND}:1")
            assert "11 snapshots published, none adopted" in alarm.detail
        else:
            assert alarm is None
    assert UNADOPTED_SECONDS._value.get() == 1200.0


def test_versions_that_follow_are_no_alarm(watch, clock, redis_client):
    for number in range(1, 40):
        watch.note_published(number)
        clock.now += 60.0
        adopt(redis_client, number, number - 2)  # a version takes two minutes to build
        assert watch.check(watermark=7) is None
    assert UNADOPTED_SECONDS._value.get() == 120.0


def test_a_version_of_a_later_snapshot_ends_the_alarm_and_the_next_one_is_another(watch, clock, redis_client):
    watch.note_published(3)
    clock.now = 700.0
    assert watch.check(1).id == f"{KIND}:3"
    adopt(redis_client, 1, 4)
    clock.now = 710.0
    assert watch.check(1) is None
    assert UNADOPTED_SECONDS._value.get() == 0.0
    watch.note_published(5)
    clock.now = 1400.0
    assert watch.check(1).id == f"{KIND}:5"


def test_a_version_that_was_removed_meanwhile_counts_as_none(watch, clock, redis_client):
    watch.note_published(3)
    redis_client.set(key("current"), 9)
    clock.now = 700.0
    assert watch.check(1) is not None
