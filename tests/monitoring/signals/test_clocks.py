"""Ages of events when they were sent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals.clocks import GROUP


def sent(*ages: int) -> Observation:
    """Events sent so many milliseconds after their time."""
    event_ts = np.full(len(ages), 10**12)
    return Observation(ts=10**12, model=ModelFigures(loss=1.0), event_ts=event_ts, sent_at=event_ts + np.array(ages))


def test_a_clock_is_ahead_by_more_than_a_second(close_window: Any) -> None:
    values = close_window(GROUP, sent(-5000, -1001, -1000, 0, 700), sent(100, 100, 100, 100, 100))
    assert values["clocks_ahead_share"] == 0.2


def test_the_spread_is_that_of_nine_tenths_of_the_ages(close_window: Any) -> None:
    values = close_window(GROUP, sent(*range(0, 10_001, 100)))
    assert values["clocks_spread"] == pytest.approx(math.log1p(9.0))  # from 500 to 9,500 ms


def test_events_without_a_time_of_sending_are_left_out(close_window: Any) -> None:
    unsent = Observation(ts=1, model=ModelFigures(loss=1.0), event_ts=np.array([5, 6]), sent_at=np.zeros(2, np.int64))
    assert all(math.isnan(value) for value in close_window(GROUP, unsent).values())
    assert close_window(GROUP, unsent, sent(-2000))["clocks_ahead_share"] == 1.0
