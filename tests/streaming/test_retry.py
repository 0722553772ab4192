"""The retry policy: pauses, time limit, cancellation, notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from hsnn.streaming import retry as module
from hsnn.streaming.retry import RetryPolicy


class UnavailableError(Exception):
    pass


class Clock:
    """A clock that advances in `sleep` only."""

    def __init__(self) -> None:
        self.now, self.pauses = 100.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr("redis.retry.sleep", clock.sleep)
    return clock


def unavailable_until(clock: Clock, available_at: float, result: int = 5) -> Callable[[], int]:
    def read() -> int:
        if clock.now < available_at:
            raise UnavailableError("no server")
        return result

    return read


def test_call_is_repeated_with_growing_pauses(clock):
    policy = RetryPolicy(60.0)
    policy.start()
    assert policy.call("reading", unavailable_until(clock, 130.0), (UnavailableError,)) == 5
    assert clock.pauses[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert set(clock.pauses[5:]) == {1.0}
    assert clock.now < 131.5


def test_error_is_raised_after_the_time_limit(clock):
    notified = []
    policy = RetryPolicy(60.0, lambda operation, error: notified.append((operation, error)))
    policy.start()
    with pytest.raises(UnavailableError):
        policy.call("reading", unavailable_until(clock, 900.0), (UnavailableError,))
    assert 160 <= clock.now < 161.5
    assert notified[0] == ("reading", "no server")
    assert notified[-1] == ("reading", None)


def test_time_limit_holds_for_each_outage(clock):
    policy = RetryPolicy(60.0)
    policy.start()
    for available_at in (150.0, 200.0, 250.0):
        assert policy.call("reading", unavailable_until(clock, available_at), (UnavailableError,)) == 5


def test_no_retry_before_start_nor_after_stop(clock):
    policy, read = RetryPolicy(60.0), unavailable_until(clock, 900.0)
    with pytest.raises(UnavailableError):
        policy.call("reading", read, (UnavailableError,))
    assert clock.pauses == []
    policy.start(lambda: clock.now > 105)
    with pytest.raises(UnavailableError):
        policy.call("reading", read, (UnavailableError,))
    assert clock.now < 107


def test_other_errors_are_raised_at_once(clock):
    policy = RetryPolicy(60.0)
    policy.start()
    with pytest.raises(ZeroDivisionError):
        policy.call("reading", lambda: 1 // 0, (UnavailableError,))
    assert clock.pauses == []


def test_begin_and_end_of_an_outage_are_logged_once_each(clock, caplog):
    policy = RetryPolicy(60.0, log_level=logging.INFO)
    policy.start()
    with caplog.at_level(logging.INFO):
        policy.call("reading", unavailable_until(clock, 101.0), (UnavailableError,))
    assert [(record.levelname, record.message) for record in caplog.records if record.name.startswith("hsnn.")] == [
        ("INFO", "reading: no server; retrying for up to 60 s"),
        ("INFO", "reading: succeeded after 1.5 s"),
    ]
