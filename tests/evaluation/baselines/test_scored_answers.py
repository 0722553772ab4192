"""Answers of baselines that score every item, and which settings are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["covisitation", "stan", "vsknn"])
def test_a_chosen_setting_alone_answers_as_among_all(moment, name):
    baseline, scored = moment.baseline(name), moment.scored()
    for column in baseline.columns:
        among_all = baseline.answer(replace(scored, chosen={name: column}))
        alone = baseline.answer(replace(scored, chosen={name: column}, chosen_only=True))
        assert set(alone) == {column}
        assert len(among_all) == len(baseline.columns)
        assert np.array_equal(alone[column].ranks, among_all[column].ranks)
        assert np.array_equal(alone[column].top, among_all[column].top)
        assert all(result.top is None for other, result in among_all.items() if other != column)
