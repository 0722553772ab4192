from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.metrics.precision import precision_warning


@pytest.mark.parametrize("queries", [50, 500, 2000])
def test_the_interval_is_as_wide_as_shares_scatter(queries: int) -> None:
    shares = np.random.default_rng(0).binomial(queries, 0.5, 20_000) / queries
    expected = 100 * 1.96 * shares.std()
    warning = precision_warning(queries)
    assert warning is not None
    said = float(warning.partition("+-")[2].partition(" ")[0])
    assert said == pytest.approx(expected, abs=0.3)


def test_enough_queries_need_no_warning() -> None:
    assert precision_warning(2500) is None


def test_no_query_judges_nothing() -> None:
    assert "No query" in (precision_warning(0) or "")
