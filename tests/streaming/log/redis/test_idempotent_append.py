"""Repeated appends have one effect, for as long as they may be retried."""

from __future__ import annotations

import pytest

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.idempotent_append import IdempotentAppender
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.retry import RetryPolicy


def test_second_attempt_has_no_effect(redis_client: Redis) -> None:
    append = IdempotentAppender(redis_client, None, 0.0).prepare(["s"], [(0, ["t", 1]), (0, ["t", 2])])
    for _ in range(2):
        append()
    assert redis_client.xlen("s") == 2
    IdempotentAppender(redis_client, None, 0.0).prepare(["s"], [(0, ["t", 1])])()
    assert redis_client.xlen("s") == 3, "the same record, sent again on purpose"


@pytest.mark.parametrize("seconds", [0.0, 10_000.0])
def test_mark_outlives_the_retries(redis_server: str, redis_client: Redis, seconds: float) -> None:
    log = RedisLog(redis_server, retry_policy=RetryPolicy(seconds))
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(b"k", b"v")])
    marks = list(redis_client.scan_iter("hsnn:log:appended:*"))
    assert len(marks) == 1
    assert redis_client.ttl(marks[0]) > seconds + 600
    log.close()
