"""The consumer on real logs."""

from __future__ import annotations

import random

import pytest

from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis
from tests.streaming.mixed_stream import (
    CONFIG,
    START,
    batch_contents,
    copy_log,
    drain,
    drain_until_caught_up,
    fill_mixed,
    interaction,
)


@pytest.mark.slow
@pytest.mark.parametrize("server", ["redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_real_logs_give_the_batches_of_the_one_in_memory(server: str, request: pytest.FixtureRequest) -> None:
    log = MemoryLog()
    names = {
        f"{kind}_topic": f"{kind}-{random.randrange(10**12)}" for kind in ("engagements", "items", "users", "control")
    }
    config = CONFIG.model_copy(update={**names, "max_wait": 0.2})
    fill_mixed(log, 600, seed=6)
    real = open_log(request.getfixturevalue("redis_server" if server == "redis" else "kafka_url"))
    copy_log(log, real, names.values())
    found = [batch_contents(batch) for batch in drain_until_caught_up(Consumer(real, config))]
    renamed = MemoryLog()
    copy_log(log, renamed, names.values())
    assert found == [batch_contents(batch) for batch in drain_until_caught_up(Consumer(renamed, config))]
    real.close()


def test_a_consumer_on_a_growing_redis_log_misses_nothing(redis_server: str, redis_client: Redis) -> None:
    log, producer = open_log(redis_server), open_log(redis_server)
    consumer = Consumer(log, CONFIG)
    names: list[str] = []
    for i in range(20):
        producer.append(
            "engagements", [ProducerRecord(b"%d" % j, interaction(START + i, item=f"{i}-{j}")) for j in range(7)]
        )
        if (batch := consumer.next_batch(0.01)) is not None:
            names += batch.engagements.item
    while consumer.lag()[0]:
        names += [name for batch in drain(consumer) for name in batch.engagements.item]
    assert sorted(names) == sorted(f"{i}-{j}" for i in range(20) for j in range(7))
    log.close()
    producer.close()
