"""What was refused, dropped, repeated, or came late."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals.pipeline import GROUP


def read(events: int, behind: int = 0, **fields: Any) -> Observation:
    """So many events, each `behind` milliseconds behind the watermark."""
    event_ts = np.full(events, 10**12 - behind)
    return Observation(ts=1, model=ModelFigures(loss=1.0), event_ts=event_ts, watermark=10**12, **fields)


def test_shares_are_of_what_was_read(close_window: Any) -> None:
    values = close_window(
        GROUP, read(10, dropped={"duplicate": 4, "late": 3}), read(10, dead_lettered=2, dropped={"unknown_user": 1})
    )
    assert values["pipeline_duplicates"] == pytest.approx(4 / 30)
    assert values["pipeline_dropped"] == pytest.approx(4 / 30)
    assert values["pipeline_dead_letters"] == pytest.approx(2 / 30)


def test_late_actions_are_per_event(close_window: Any) -> None:
    assert close_window(GROUP, read(8, late_actions=2))["pipeline_late_actions"] == 0.25


def test_disorder_is_the_mean_distance_to_the_watermark(close_window: Any) -> None:
    values = close_window(GROUP, read(5, behind=4000), read(15, behind=-60_000))  # ahead counts as none
    assert values["pipeline_disorder"] == pytest.approx(math.log1p(1.0))


def test_dead_letters_are_counted_by_reason(close_window: Any) -> None:
    group = GROUP.create()
    values = close_window(
        group, read(1, letter_reasons={"invalid": 2}), read(1, letter_reasons={"invalid": 1, "json": 4})
    )
    assert values["pipeline_letter_reasons"] == {"invalid": 3, "json": 4}
    assert close_window(group, read(1))["pipeline_letter_reasons"] == {}
