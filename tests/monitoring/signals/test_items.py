"""What arrives and leaves, what is engaged with, and what is known of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.observation import FeedFigures, ModelFigures, Observation
from hsnn.monitoring.signals.items import GROUP


def engaged(*items: int, features: int = 0, unseen: int = 0, **feed: int) -> Observation:
    """Events on these items, the first `unseen` of them without earlier engagement, each with so many features."""
    return Observation(
        ts=1,
        model=ModelFigures(loss=1.0),
        items=np.array(items, np.int64),
        unseen_items=np.arange(len(items)) < unseen,
        item_features=[dict.fromkeys(map(str, range(features)), 1)] * len(items),
        feed=FeedFigures(**feed),
    )


def test_arrivals_and_departures_are_per_event(close_window: Any) -> None:
    values = close_window(GROUP, engaged(1, 2, changed=3, deleted=1), engaged(1, 2, changed=1, featureless=1))
    assert values["items_arrivals"] == 1.0
    assert values["items_departures"] == 0.25
    assert values["items_featureless"] == 0.25


def test_concentration_is_the_share_of_the_ten_most_popular(close_window: Any) -> None:
    values = close_window(GROUP, engaged(*range(20)), engaged(*range(10)), engaged(*range(9), 0))
    assert values["items_concentration"] == pytest.approx(30 / 40)
    assert math.isnan(values["items_rise"]), "nothing to compare with"


def test_the_rise_is_the_largest_gain_of_a_share_since_four_windows(close_window: Any) -> None:
    group = GROUP.create()
    shares = [close_window(group, engaged(*[7] * popular, *range(100, 120 - popular))) for popular in range(2, 8)]
    rises = [values["items_rise"] for values in shares]
    assert all(math.isnan(rise) for rise in rises[:4])
    assert rises[4:] == pytest.approx([4 / 20, 4 / 20])


def test_unseen_items_and_features(close_window: Any) -> None:
    values = close_window(GROUP, engaged(1, 2, 3, 4, unseen=1, features=2), engaged(5, 6, 7, 8, features=4))
    assert values["items_unseen_share"] == 0.125
    assert values["items_features_each"] == 3.0


def test_the_age_is_since_the_first_sign_of_life(close_window: Any) -> None:
    hour = 3_600_000
    seen = Observation(
        ts=10 * hour,
        model=ModelFigures(loss=1.0),
        items=np.arange(4),
        first_seen=np.array([0, 10 * hour, 9 * hour, 3 * hour]),
    )
    assert close_window(GROUP, seen)["items_age"] == pytest.approx((np.log(2) + np.log(8)) / 4)


def test_without_arrivals_nothing_is_said_about_their_features(close_window: Any) -> None:
    values = close_window(GROUP, engaged(1))
    assert values["items_arrivals"] == 0.0
    assert math.isnan(values["items_featureless"])
