"""Retention of the log on Redis Streams."""

from __future__ import annotations

import pytest

from hsnn.streaming.errors import OutOfRangeError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.redis.entry import stream_key
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.client import Redis


def test_records_removed_by_retention_are_an_error(redis_server: str, redis_client: Redis) -> None:
    log = open_log(redis_server + "?retention=100")
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(b"k", b"%d" % i) for i in range(1000)])
    begin = log.begin_positions([("t", 0)])["t", 0]
    assert 0 < begin <= 900
    log.seek({("t", 0): begin})
    assert [records.offsets.tolist() for records in log.poll(5, 0.1)] == [list(range(begin, begin + 5))]
    log.seek({("t", 0): 3})
    with pytest.raises(OutOfRangeError, match="retention"):
        log.poll(5, 0.1)
    log.close()


def test_trimmed_stream_keeps_its_end(redis_server: str, redis_client: Redis) -> None:
    log = RedisLog(redis_server)
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(b"k", b"v")] * 5)
    redis_client.xtrim(stream_key("t", 0), maxlen=0, approximate=False)
    assert log.begin_positions([("t", 0)]) == log.end_positions([("t", 0)]) == {("t", 0): 5}
    log.append("t", [ProducerRecord(b"k", b"v")])
    log.seek({("t", 0): 5})
    assert [records.offsets.tolist() for records in log.poll(5, 0.1)] == [[5]]
    log.close()


def test_it_says_what_an_acknowledged_record_survives(redis_server: str, redis_client: Redis) -> None:
    log = RedisLog(redis_server)
    assert "appendonly is off" in log.durability()
    redis_client.config_set("appendonly", "yes")
    try:
        for policy, said in (("everysec", "one of its machine the last second"), ("always", "on disk before")):
            redis_client.config_set("appendfsync", policy)
            assert said in log.durability()
    finally:
        redis_client.config_set("appendonly", "no")
        redis_client.config_set("appendfsync", "everysec")
    log.close()
