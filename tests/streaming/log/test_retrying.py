"""A log whose server is unavailable for a while: reads are retried, appends happen once, losses are detected."""

from __future__ import annotations

import pytest
import redis

from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.log.retrying import RetryingLog
from hsnn.streaming.retry import RetryPolicy

TOPIC, PLACE = "engagements", ("engagements", 0)


class Flaky(MemoryLog):
    """Fails at every other call of a method that contacts the server."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[str] = set()

    def __getattribute__(self, name: str):
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("failed", "append", "flush", "positions", "close") or not callable(found):
            return found

        def now_and_then(*args, **more):
            self.failed ^= {name}
            if name in self.failed:
                raise LogUnavailableError(f"{name}: not now")
            return found(*args, **more)

        return now_and_then


@pytest.fixture
def waiting(monkeypatch) -> RetryPolicy:
    monkeypatch.setattr("hsnn.streaming.retry.time.sleep", lambda seconds: None)
    patience = RetryPolicy(60.0)
    patience.start()
    return patience


def test_reads_and_commits_are_retried(waiting):
    flaky = Flaky()
    log = RetryingLog(flaky, waiting)
    log.create_topic(TOPIC, 1)
    assert log.append(TOPIC, [ProducerRecord(b"k", b"%d" % number) for number in range(3)]) == 3
    log.flush()
    assert log.partitions(TOPIC) == [0]
    assert (log.begin_positions([PLACE]), log.end_positions(iter([PLACE]))) == ({PLACE: 0}, {PLACE: 3})
    log.seek({PLACE: 1})
    assert [records.values for records in log.poll(9, 0.0)] == [[b"1", b"2"]]
    assert (log.positions(), log.lag()) == ({PLACE: 3}, 0)
    log.commit("group", {PLACE: 3})
    assert log.committed("group", iter([PLACE])) == {PLACE: 3}
    assert not flaky.failed, "each failed once and was asked again"


def test_end_before_the_read_position_is_an_error(waiting, monkeypatch):
    memory = MemoryLog()
    log = RetryingLog(memory, waiting)
    log.create_topic(TOPIC, 1)
    log.append(TOPIC, [ProducerRecord(b"k", b"v")] * 3)
    log.seek({PLACE: 0})
    log.poll(9, 0.0)
    monkeypatch.setattr(memory, "end_positions", lambda partitions: {PLACE: 2})
    with pytest.raises(OutOfRangeError, match=r"engagements/0 .* ends at 2, and 3 was read"):
        log.end_positions([PLACE])


class LossyScript:
    """A script whose answer is lost after it ran (`unheard`), or that does not run (`lost`), as `fates` say."""

    def __init__(self, script, fates: list[str]) -> None:
        self._script, self._fates = script, fates

    def __call__(self, **arguments):
        fate = self._fates.pop(0) if self._fates else "heard"
        answer = None if fate == "lost" else self._script(**arguments)
        if fate != "heard":
            raise redis.ConnectionError(fate)
        return answer


def test_append_is_not_duplicated_when_its_answer_is_lost(redis_server, redis_client, waiting):
    log = RedisLog(redis_server, retry_policy=waiting)
    log.create_topic(TOPIC, 1)
    log._appender._append = LossyScript(log._appender._append, ["unheard", "lost", "unheard", "heard", "lost"])
    log.append(TOPIC, [ProducerRecord(b"k", b"%d" % number, (("h", b"x"),)) for number in range(3)])
    log.append(TOPIC, [ProducerRecord(b"k", None), ProducerRecord(None, b"4")])
    log.seek({PLACE: 0})
    (found,) = log.poll(9, 0.0)
    assert [(record.offset, record.key, record.value) for record in found] == [
        (0, b"k", b"0"),
        (1, b"k", b"1"),
        (2, b"k", b"2"),
        (3, b"k", None),
        (4, None, b"4"),
    ]
    assert found[0].headers == (("h", b"x"),)
    assert not log._appender._append._fates
    log.close()


def test_lost_append_without_retry_policy_is_an_error(redis_server, redis_client):
    log = RedisLog(redis_server)
    log.create_topic(TOPIC, 1)
    log._appender._append = LossyScript(log._appender._append, ["lost"])
    with pytest.raises(LogUnavailableError, match="appending to topic 'engagements'"):
        log.append(TOPIC, [ProducerRecord(b"k", b"v")])
    log.close()


def test_records_read_while_the_end_is_asked_for_are_not_lost(waiting):
    """The trainer asks for its lag while its fetcher reads on, in another thread."""

    class ReadMeanwhile(MemoryLog):
        def end_positions(self, partitions):
            ends = super().end_positions(partitions)
            self.append(TOPIC, [ProducerRecord(b"k", b"2")])
            self.poll(9, 0.0)
            return ends

    log = RetryingLog(ReadMeanwhile(), waiting)
    log.create_topic(TOPIC, 1)
    log.append(TOPIC, [ProducerRecord(b"k", b"1")])
    log.seek({PLACE: 0})
    assert log.end_positions([PLACE]) == {PLACE: 1}
    assert log.positions() == {PLACE: 2}
