"""Reading on gives what reading one by one does, and nothing behind a gap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.backoff
import redis.retry

from streaming import redis_read
from streaming.log import Outgoing
from streaming.redis_client import Redis, connect
from streaming.redis_entry import stream_key
from streaming.redis_log import RedisLog
from streaming.redis_read import AT_ONCE, read_on

STREAM = stream_key("t", 0)


@pytest.fixture
def client(redis_server: str, redis_client: Redis) -> Iterator[Redis]:
    """Client of a server with three and a half answers in a stream."""
    log = RedisLog(redis_server)
    log.create_topic("t", 1)
    log.append("t", [Outgoing(b"k", b"%d" % number) for number in range(AT_ONCE * 7 // 2)])
    log.close()
    client = connect(redis_server, protocol=2)
    yield client
    client.close()


def numbers(entries: list[Any]) -> list[int]:
    return [int(fields[fields.index(b"v") + 1]) for _, fields in entries]


@pytest.mark.parametrize("after", [0, 5, 3 * AT_ONCE, AT_ONCE * 7 // 2 - 1, AT_ONCE * 7 // 2])
@pytest.mark.parametrize("count", [1, AT_ONCE, AT_ONCE + 1, 8 * AT_ONCE])
def test_entries_follow_one_another(client: Redis, after: int, count: int) -> None:
    found = numbers(read_on(client, STREAM, after, count))
    assert found == list(range(after, min(after + -(-count // AT_ONCE) * AT_ONCE, AT_ONCE * 7 // 2)))
    assert client.ping(), "no answer is left over"


def test_nothing_is_read_behind_what_was_removed_meanwhile(client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, turns = redis_read._answer, []

    def slow(connection: Any) -> list[Any]:
        turns.append(answer(connection))
        client.xtrim(STREAM, minid=f"0-{3 * AT_ONCE}", approximate=False)
        return turns[-1]

    monkeypatch.setattr(redis_read, "_answer", slow)
    found = numbers(read_on(client, STREAM, 0, 8 * AT_ONCE))
    assert found == list(range(len(found)))
    assert len(found) == 2 * AT_ONCE, "two questions were on their way"
    assert numbers(turns[-1])[0] > len(found)


def test_entries_that_come_meanwhile_are_left_to_the_next_time(
    client: Redis, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, log, turns = redis_read._answer, RedisLog(redis_server), []

    def late(connection: Any) -> list[Any]:
        turns.append(answer(connection))
        if len(turns) == 1:  # behind the last entry, and before the next question
            log.append("t", [Outgoing(b"k", b"%d" % number) for number in range(AT_ONCE * 7 // 2, 5 * AT_ONCE)])
        return turns[-1]

    monkeypatch.setattr(redis_read, "_answer", late)
    found = numbers(read_on(client, STREAM, 3 * AT_ONCE, 3 * AT_ONCE))
    assert found == list(range(3 * AT_ONCE, 3 * AT_ONCE + len(found)))
    log.close()


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_server_that_goes_away_ends_it(client: Redis, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
    answer, turns = redis_read._answer, []

    def failing(connection: Any) -> list[Any]:
        turns.append(connection)
        if len(turns) == fails:
            raise redis.ConnectionError
        return answer(connection)

    monkeypatch.setattr(redis_read, "_answer", failing)
    assert len(read_on(client, STREAM, 0, 8 * AT_ONCE)) == (fails - 1) * AT_ONCE
    monkeypatch.undo()
    assert len(read_on(client, STREAM, 0, 8 * AT_ONCE)) == AT_ONCE * 7 // 2, "the next one finds a clean connection"


def test_a_server_that_is_away_gives_nothing() -> None:
    away = redis.Redis(port=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    assert read_on(away, STREAM, 0, AT_ONCE) == []
