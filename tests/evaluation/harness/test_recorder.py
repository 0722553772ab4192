"""A target that may not be recommended is a miss for every method, also for one that would have named it."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.baselines.popularity_counts import PopularityCounts, PopularityRanking
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch

pytestmark = pytest.mark.slow


def test_an_excluded_target_is_a_miss_for_every_method(moment):
    excluded = moment.sampled.excluded
    chosen = np.flatnonzero(excluded[:, -1] >= 0)[::2]
    assert 0 < len(chosen) < len(moment.queries)
    targets = moment.sampled.target_rows.copy()
    targets[chosen] = excluded[chosen, -1]
    queries = QueryBatch(moment.queries.state, moment.sampled._replace(target_rows=targets))
    counts = PopularityCounts()
    counts.reserve(len(queries.state.items.ids.ids))
    recorder = Recorder()
    recorder.begin(queries, PopularityRanking(counts, queries, 10))
    recorder.record("any", MethodResult(np.zeros(len(queries)), None))
    ranks = recorder.ranks()["any"]
    assert set(chosen) <= set(np.flatnonzero(ranks == MISS))
    assert np.array_equal(ranks == MISS, queries.excludes_target)
