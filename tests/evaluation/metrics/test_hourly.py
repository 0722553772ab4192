"""Figures by the hour."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.metrics.hourly import HourlyRun, hourly_figures

HIT, MISS = np.float32(0), np.float32(np.inf)


def run(**ranks) -> HourlyRun:
    """Two queries in hour 1, one in hour 2, three in hour 4."""
    columns = {"served": ("served",), "stan": ("a", "b")}
    arrays = {name: np.array(values, np.float32) for name, values in ranks.items()}
    return HourlyRun(arrays, np.array([1, 1, 2, 4, 4, 4]), columns, np.arange(6))


def test_figures_are_means_over_the_hours_whatever_their_size():
    found = hourly_figures(run(served=[HIT, MISS, HIT, MISS, MISS, HIT], a=[MISS] * 6, b=[MISS] * 6))
    assert found["methods"]["served"]["hr_at_20"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert (found["hours"], found["targets"]) == (3, 6)


def test_a_setting_is_chosen_by_the_hours_before():
    """b is best from the start, which is known from hour 2 on."""
    made = run(served=[MISS] * 6, a=[MISS] * 6, b=[HIT] * 6)
    assert made.chosen_ranks()["stan"].tolist() == [MISS, MISS, HIT, HIT, HIT, HIT]
    found = hourly_figures(made)
    assert found["methods"]["stan"]["hr_at_20"] == pytest.approx(2 / 3)
    assert found["methods"]["stan"]["hindsight_hr_at_20"] == 1.0
    assert {one["method"] for one in found["comparisons"]} == {"stan"}
    assert [one["mean"] for one in found["comparisons"]] == pytest.approx([-2 / 3, -2 / 3])


def test_the_hour_itself_does_not_choose():
    """Another outcome of an hour leaves the choice for it as it was."""
    one = run(served=[HIT] * 6, a=[HIT, HIT, HIT, MISS, MISS, MISS], b=[MISS] * 6)
    other = run(served=[HIT] * 6, a=[HIT, HIT, HIT, MISS, MISS, MISS], b=[MISS, MISS, MISS, HIT, HIT, HIT])
    assert one.chosen_ranks()["stan"].tolist() == other.chosen_ranks()["stan"].tolist()
