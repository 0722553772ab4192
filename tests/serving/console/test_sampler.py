from __future__ import annotations

import json

from hsnn.serving.console.history import FigureHistory
from hsnn.serving.console.sampler import FigureSampler
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.redis.keys import key
from tests.waiting import wait_until


def publish(redis, **progress) -> None:
    redis.hset(key("progress"), mapping={name: json.dumps(value) for name, value in progress.items()})


def test_rates_are_those_since_the_last_row(redis_client, mirror):
    now = 0.0
    metrics = ServingMetrics()
    sampler = FigureSampler(redis_client, mirror, metrics, clock=lambda: now)
    publish(redis_client, trained=1000, dead_lettered=0, dropped={"duplicate": 1}, lag_records=5, loss=3.5)
    now = 10.0
    assert sampler.sample().events_per_second is None
    recall = {"recall_at_20": {"served": 0.5, "popularity": 0.25}}
    publish(redis_client, trained=1500, dead_lettered=20, dropped={"duplicate": 6, "no_row": 5}, recent=recall)
    metrics.requests.labels("retrieve", "200").inc(30)
    now = 20.0
    sample = sampler.sample()
    assert (sample.events_per_second, sample.dead_lettered, sample.dropped) == (50.0, 2.0, 1.0)
    assert (sample.lag_records, sample.loss, sample.requests_per_second) == (5, 3.5, 3.0)
    assert (sample.items, sample.version) == (60, 1)
    assert sample.recall == {"served": 0.5, "popularity": 0.25}
    publish(redis_client, trained=1200)  # a trainer that went back to a checkpoint
    now = 30.0
    assert sampler.sample().events_per_second == 0.0
    assert len(FigureHistory(redis_client).read(0)) == 3


def test_rows_have_what_joiner_and_deduplication_did(redis_client, mirror):
    now = 0.0
    sampler = FigureSampler(redis_client, mirror, ServingMetrics(), clock=lambda: now)
    publish(redis_client, pending=3, windows={"labelled": 10, "late_actions": 1}, dropped={"duplicate": 1})
    sampler.sample()
    publish(redis_client, pending=4, windows={"labelled": 60, "late_actions": 6}, dropped={"duplicate": 21})
    now = 10.0
    row = sampler.sample()
    assert (row.pending, row.labelled, row.late_actions, row.duplicates) == (4, 5.0, 0.5, 2.0)


def test_without_a_trainer_and_a_version_there_is_a_row_all_the_same(redis_client):
    sample = FigureSampler(redis_client, Mirror(), ServingMetrics()).sample()
    assert (sample.events_per_second, sample.items, sample.version, sample.recall) == (None, None, None, {})


def test_the_thread_goes_on_after_a_failure_and_ends_when_told(redis_client, mirror):
    redis_client.set(key("console", "history"), "not a stream")
    sampler = FigureSampler(redis_client, mirror, ServingMetrics(), interval=0.01)
    sampler.start()
    wait_until(lambda: sampler.is_alive())
    redis_client.delete(key("console", "history"))
    wait_until(lambda: FigureHistory(redis_client).read(0))
    sampler.stop()
    assert not sampler.is_alive()
