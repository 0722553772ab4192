"""Waiting for what is away: how long, for what, and until when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hsnn.streaming.log import retry as module
from hsnn.streaming.log.retry import Patience


class AwayError(Exception):
    pass


class Clock:
    """Time that passes in `sleep` only."""

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
    return clock


def away_until(clock: Clock, then: float, answer: int = 5) -> Callable[[], int]:
    def ask() -> int:
        if clock.now < then:
            raise AwayError("nobody there")
        return answer

    return ask


def test_it_asks_again_until_there_is_an_answer_and_less_often_in_time(clock):
    patience = Patience(60.0)
    patience.begin()
    assert patience.call("asking", away_until(clock, 130.0), (AwayError,)) == 5
    assert clock.pauses[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert set(clock.pauses[5:]) == {1.0}
    assert clock.now < 131.5


def test_it_has_an_end(clock):
    told = []
    patience = Patience(60.0, lambda what, why: told.append((what, why)))
    patience.begin()
    with pytest.raises(AwayError):
        patience.call("asking", away_until(clock, 900.0), (AwayError,))
    assert 160 <= clock.now < 161.5
    assert told[0] == ("asking", "nobody there")
    assert told[-1] == ("asking", None)


def test_an_outage_does_not_shorten_the_next_one(clock):
    patience = Patience(60.0)
    patience.begin()
    for then in (150.0, 200.0, 250.0):
        assert patience.call("asking", away_until(clock, then), (AwayError,)) == 5


def test_it_does_not_wait_before_it_began_nor_once_it_is_told_to_stop(clock):
    patience, ask = Patience(60.0), away_until(clock, 900.0)
    with pytest.raises(AwayError):
        patience.call("asking", ask, (AwayError,))
    assert clock.pauses == []
    patience.begin(lambda: clock.now > 105)
    with pytest.raises(AwayError):
        patience.call("asking", ask, (AwayError,))
    assert clock.now < 107


def test_other_errors_are_not_waited_for(clock):
    patience = Patience(60.0)
    patience.begin()
    with pytest.raises(ZeroDivisionError):
        patience.call("asking", lambda: 1 // 0, (AwayError,))
    assert clock.pauses == []
