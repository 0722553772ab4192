from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.metrics.calibration import calibration, normalised_entropy


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda y: 0 < sum(y) < len(y)))
def test_the_mean_rate_has_entropy_one_and_is_calibrated(outcomes):
    y = np.array(outcomes, np.float32)
    p = np.full(len(y), y.mean())
    assert normalised_entropy(p, y) == pytest.approx(1.0)
    assert calibration(p, y) == pytest.approx(1.0)


def test_by_hand():
    p, y = np.array([0.8, 0.4, 0.1]), np.array([1.0, 0.0, 0.0])
    loss = -(np.log(0.8) + np.log(0.6) + np.log(0.9)) / 3
    rate = -(np.log(1 / 3) + 2 * np.log(2 / 3)) / 3
    assert normalised_entropy(p, y) == pytest.approx(loss / rate)
    assert calibration(p, y) == pytest.approx(1.3)


def test_better_is_smaller_and_certainty_about_the_wrong_thing_is_finite():
    y = np.array([1.0, 0.0, 1.0, 0.0])
    good, bad = np.array([0.9, 0.1, 0.8, 0.2]), np.array([0.1, 0.9, 0.2, 0.8])
    assert normalised_entropy(good, y) < 1 < normalised_entropy(bad, y)
    assert np.isfinite(normalised_entropy(1 - y, y))
    assert normalised_entropy(y, y) < 1e-9


def test_what_cannot_be_said():
    assert np.isnan(normalised_entropy(np.array([0.5, 0.5]), np.ones(2)))
    assert np.isnan(calibration(np.array([0.5]), np.zeros(1)))
    assert np.isnan(normalised_entropy(np.zeros(0), np.zeros(0)))
    with pytest.raises(ProtocolError, match="do not belong"):
        calibration(np.zeros(2), np.zeros(3))
    with pytest.raises(ProtocolError, match="between 0 and 1"):
        normalised_entropy(np.array([1.5]), np.ones(1))
