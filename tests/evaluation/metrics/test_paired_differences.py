from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.metrics.method_metrics import figures
from hsnn.evaluation.metrics.paired_differences import check_same_queries, compare, interval


def test_an_interval_by_hand():
    found = interval([1.0, 2.0, 4.0])
    half = 4.302653 * np.std([1, 2, 4], ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom, 97.5%
    assert found.mean == pytest.approx(7 / 3)
    assert found.low == pytest.approx(7 / 3 - half, rel=1e-6)
    assert found.high == pytest.approx(7 / 3 + half, rel=1e-6)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [found.low <= 3 <= found.high for found in (interval(rng.normal(3, 2, 3).tolist()) for _ in range(2000))]
    assert 0.935 < np.mean(held) < 0.965


def test_verdicts():
    found = interval([0.9, 1.0, 1.1])
    assert found.verdict(0.7) == "met"
    assert found.verdict(1.0) == "unresolved"
    assert found.verdict(1.3) == "missed"
    assert interval([5.0]).verdict(0.0) == "unresolved"  # one seed decides nothing


@pytest.mark.slow
def test_methods_are_compared_seed_by_seed(run):
    found = compare([run, run], [run, run], figure="recall_at_20", method="served", reference="popularity")
    difference = figures(run, "served")["recall_at_20"] - figures(run, "popularity")["recall_at_20"]
    assert found.per_seed == (difference, difference)
    assert found.low == found.high == difference > 0.2


@pytest.mark.slow
def test_only_runs_with_the_same_queries_are_compared(run):
    copy = replace(run, event=run.event.copy())
    check_same_queries(run, copy)
    with pytest.raises(ProtocolError, match="asked different events"):
        compare([run], [replace(run, event=run.event + 1)], figure="recall_at_20", method="served", reference="served")
    with pytest.raises(ProtocolError, match="1 seeds cannot be paired with 2"):
        compare([run], [run, run], figure="recall_at_20", method="served", reference="served")
