"""A prefetched command has the answer that it would have without prefetch, or none."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
import redis.backoff
import redis.retry

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.log.redis.prefetch import Prefetcher, ReadCommand
from hsnn.streaming.redis.client import Redis, connect

ONE: ReadCommand = ("GET", "one")


@pytest.fixture
def client(redis_server: str, redis_client: Redis) -> Iterator[Redis]:
    client = connect(redis_server, protocol=2)
    redis_client.set("one", 1)
    yield client
    client.close()


def test_answer_is_of_the_time_of_sending_and_is_received_once(client: Redis) -> None:
    ahead = Prefetcher(client)
    ahead.send(ONE)
    time.sleep(0.05)  # the server may look at connections in any order
    client.set("one", 2)
    client.get("two")
    assert ahead.receive(ONE) == b"1"
    assert ahead.receive(ONE) is None


def test_different_command_has_no_answer_and_leaves_no_connection(client: Redis) -> None:
    ahead = Prefetcher(client)
    ahead.send(ONE)
    assert ahead.receive(("GET", "two")) is None
    assert ahead.receive(ONE) is None
    ahead.send(ONE)
    ahead.send(("GET", "two"))
    ahead.discard()
    assert [client.get("one") for _ in range(3)] == [b"1"] * 3


def test_error_gives_no_answer(client: Redis) -> None:
    ahead = Prefetcher(client)
    ahead.send(("LPOP", "one"))
    assert ahead.receive(("LPOP", "one")) is None
    assert client.get("one") == b"1"


def test_unavailable_server_gives_no_answer(client: Redis, redis_client: Redis) -> None:
    ahead = Prefetcher(client)
    ahead.send(ONE)
    redis_client.client_kill_filter(_type="normal", skipme=True)
    assert ahead.receive(ONE) in (b"1", None)  # it may have been on its way
    away = Prefetcher(redis.Redis(port=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)))
    away.send(ONE)
    assert away.receive(ONE) is None
    assert client.get("one") == b"1"


@pytest.mark.parametrize("asked", [[("t", 0)], [("t", 1), ("t", 0)], [("t", 0), ("t", 1)]])
def test_log_with_prefetch_reads_every_record_once(
    redis_server: str, redis_client: Redis, asked: list[tuple[str, int]]
) -> None:
    log = RedisLog(redis_server)
    log.create_topic("t", 2)
    for turn in range(3):  # records come between question and answer, too
        log.append("t", [ProducerRecord(None, b"%d" % at, partition=at % 2) for at in range(40 * turn, 40 * turn + 40)])
        if turn == 0:
            log.seek({("t", 0): 0, ("t", 1): 0})
            found = {0: list[int](), 1: list[int]()}
        for wanted in (asked, [("t", 0), ("t", 1)], asked):
            for records in log.poll(8, 0.0, wanted):
                found[records.position[1]] += map(int, filter(None, records.values))
    log.seek(log.positions())
    while polled := log.poll(7, 0.0):
        for records in polled:
            found[records.position[1]] += map(int, filter(None, records.values))
    assert found == {0: list(range(0, 120, 2)), 1: list(range(1, 120, 2))}
    log.close()


def test_records_removed_after_their_prefetch_are_no_error(redis_server: str, redis_client: Redis) -> None:
    log = RedisLog(redis_server)
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(None, b"%d" % at) for at in range(30)])
    log.seek({("t", 0): 0})
    assert [records.offsets.tolist() for records in log.poll(10, 0.0)] == [list(range(10))]
    time.sleep(0.05)
    redis_client.xtrim("hsnn:log:{t:0}", minid="0-26", approximate=False)
    assert [records.offsets.tolist() for records in log.poll(10, 0.0)] == [list(range(10, 20))], "they had been read"
    log.close()
