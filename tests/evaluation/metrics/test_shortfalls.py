"""Holm's correction, and the table of differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.metrics.shortfalls import differences, holm
from tests.evaluation.metrics.test_run import small_run


def test_holm_by_hand():
    """Of four: 0.05/4 = 0.0125, 0.05/3 = 0.0167, 0.05/2 = 0.025, 0.05."""
    assert holm(np.array([0.012, 0.016, 0.024, 0.04])).tolist() == [True] * 4
    assert holm(np.array([0.013, 0.001, 0.2, 0.016])).tolist() == [True, True, False, True]
    assert holm(np.array([0.013, 0.013, 0.013, 0.013])).tolist() == [False] * 4  # none passes the first step
    assert holm(np.array([0.01, 0.02, 0.03, 0.04])).tolist() == [True, False, False, False]  # stops at 0.02


def run_with(served: np.ndarray, popularity: np.ndarray):
    count = len(served)
    run = small_run()
    return replace(
        run,
        ranks={"served": served, "popularity:24.0": popularity},
        chosen={"popularity": "popularity:24.0"},
        event=np.arange(count),
    )


def test_a_difference_is_paired_and_pooled_over_the_seeds():
    hit, miss = np.float32(0), np.float32(100)
    one = run_with(np.array([hit] * 60 + [miss] * 40), np.array([hit] * 90 + [miss] * 10))
    other = run_with(np.array([hit] * 60 + [miss] * 40), np.array([hit] * 60 + [miss] * 40))
    found = differences({"a": [one, other]}, {"a": ["popularity"]})
    assert [(each.figure, each.behind) for each in found] == [("recall_at_20", True), ("recall_at_50", True)]
    assert found[0].mean == pytest.approx(-0.15)  # 30 of 200
    error = np.sqrt(0.15 * 0.85 / 199)
    assert (found[0].low, found[0].high) == pytest.approx((-0.15 - 1.96 * error, -0.15 + 1.96 * error), abs=1e-4)


def test_neither_a_lead_nor_a_tie_is_behind():
    hit, miss = np.float32(0), np.float32(100)
    ahead = run_with(np.array([hit] * 50), np.array([miss] * 25 + [hit] * 25))
    same = run_with(np.array([hit] * 50), np.array([hit] * 50))
    found = differences({"a": [ahead], "b": [same]}, {"a": ["popularity"], "b": ["popularity"]})
    assert [each.behind for each in found] == [False] * 4
    assert [each.p for each in found[2:]] == [1.0, 1.0]


def test_a_large_table_asks_for_more():
    """One miss in a hundred that is beyond chance alone is not among many comparisons."""
    hit, miss = np.float32(0), np.float32(100)
    weak = run_with(np.array([hit] * 96 + [miss] * 4), np.array([hit] * 100))
    same = run_with(np.array([hit] * 100), np.array([hit] * 100))
    alone = differences({"a": [weak]}, {"a": ["popularity"]})
    assert alone[0].behind
    streams = {"a": [weak], **{str(number): [same] for number in range(20)}}
    assert not differences(streams, {stream: ["popularity"] for stream in streams})[0].behind
