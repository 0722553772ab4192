"""The decisions are those of river's KSWIN."""

from __future__ import annotations

import numpy as np
import pytest
from river.drift import KSWIN

from hsnn.monitoring.change_tests import kswin


@pytest.mark.parametrize("seed", range(4))
def test_it_decides_as_river_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    series = np.concatenate([rng.normal(3.0 * (part % 2), 1.0, 60) for part in range(6)]).round(seed % 2 + 1)  # ties
    river = KSWIN(alpha=1e-4, window_size=40, stat_size=12, seed=17)
    mine, theirs = kswin.create(), []
    decided = [mine.update(float(value)) for value in series]
    for value in series:
        river.update(float(value))
        theirs.append(bool(river.drift_detected))
    assert decided == theirs
    assert any(decided)
