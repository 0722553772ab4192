"""How many users are active, how active, who is new, and what they do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import ModelFigures, Observation
from hsnn.monitoring.signals.users import GROUP

MINUTE = 60_000


def events(*users: int, ts: int = MINUTE, new: int = 0, values: Any = None, actions: Any = None) -> Observation:
    """Events by these users (-1: without a row), the first `new` of them without a history."""
    count = len(users)
    return Observation(
        ts=ts,
        model=ModelFigures(loss=1.0),
        users=np.array(users, np.int64),
        new_users=np.arange(count) < new,
        actions=actions or ["click"] * count,
        values=np.full(count, np.nan, np.float32) if values is None else np.array(values, np.float32),
        contexts=[{"device": "tv"}] + [None] * (count - 1),
    )


def test_the_rate_is_per_second_between_two_windows(close_window: Any) -> None:
    group = GROUP.create()
    assert math.isnan(close_window(group, events(1, 2))["users_rate"])
    assert close_window(group, events(*range(120), ts=2 * MINUTE))["users_rate"] == pytest.approx(math.log(2.0))


def test_activity_counts_users_with_a_row(close_window: Any) -> None:
    values = close_window(GROUP, events(1, 1, 1, 1, 2, 3, 4), events(5, 6, -1, -1, new=3))
    assert values["users_events_each"] == pytest.approx(math.log(9 / 6))
    assert values["users_busiest_share"] == 8 / 9
    assert values["users_new_share"] == pytest.approx(3 / 11)
    assert values["users_context_missing"] == pytest.approx(9 / 11)


def test_values_are_averaged_on_a_signed_log_scale(close_window: Any) -> None:
    values = close_window(GROUP, events(1, 2, 3, 4, values=[math.e - 1, 1 - math.e, math.nan, math.e**3 - 1]))
    assert values["users_value"] == pytest.approx(1.0)
    assert values["users_value_missing"] == 0.25


def test_rare_actions_count_as_one_so_that_names_fill_no_memory(close_window: Any) -> None:
    names = [f"random-{number:02}" for number in range(40)]
    mix = close_window(GROUP, events(*range(50), actions=["buy"] * 10 + names), events(1, 2, actions=["buy", "more"]))
    counts = mix["users_action_mix"]
    assert len(counts) <= 32
    assert counts["buy"] == 11
    assert sum(counts.values()) == 52
    assert counts["(others)"] == 52 - sum(count for name, count in counts.items() if name != "(others)")
