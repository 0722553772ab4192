"""What a signal was at the same hour of yesterday and of last week."""

from __future__ import annotations

import numpy as np

from hsnn.monitoring.watching.season import BACK, HOUR, SeasonalReference, covered_hours


def test_means_are_those_of_all_values_of_each_hour_within_a_week() -> None:
    rng, season, ends = np.random.default_rng(0), SeasonalReference(), [5 * HOUR]
    values: dict[int, list[float]] = {}
    for _ in range(600):
        ends.append(ends[-1] + int(rng.exponential(HOUR)) + 1)
        value = float(rng.normal())
        season.add(value, begin=ends[-2], ts=ends[-1])
        for hour in covered_hours(ends[-2], ends[-1], at_most=max(BACK) + 2):
            values.setdefault(hour, []).append(value)
        found = season.expected(ends[-1])
        hours = [ends[-1] // HOUR - back for back in BACK]
        assert np.allclose(found, [np.mean(values[hour]) for hour in hours if hour in values])
    kept = season.state_dict()["hours"]
    assert [hour for hour, *_ in kept] == sorted(values)[-len(kept) :]
    assert kept[0][0] == ends[-1] // HOUR - max(BACK) - 1, "older hours are forgotten"


def test_a_restart_and_a_long_silence_change_nothing() -> None:
    season, again = SeasonalReference(), SeasonalReference()
    for hour in range(200):
        season.add(float(hour), begin=hour * HOUR - 1, ts=hour * HOUR)
    again.load_state_dict(season.state_dict())
    assert again.state_dict() == season.state_dict()
    assert again.expected(199 * HOUR) == season.expected(199 * HOUR) == [176.0, 175.0, 174.0, 32.0, 31.0, 30.0]
    season.add(1.0, begin=5000 * HOUR - 1, ts=5000 * HOUR)
    assert season.state_dict() == {"hours": [[5000, 1.0, 1.0]]}
    assert season.expected(5024 * HOUR) == [1.0]
