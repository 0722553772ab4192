"""A mirror that stands still for up to an hour."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.harness.frozen_mirror import FrozenMirror
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.served_path import served_result
from hsnn.evaluation.queries.query_batch import QueryBatch
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow

pytestmark = pytest.mark.slow

HOUR, K = 3_600_000, 50


def test_a_copy_answers_as_the_mirror_did_when_it_was_taken(config, new_data):
    system, frozen, kept, before = OfflineSystem(config, 0.0, 512), FrozenMirror(), None, None
    sampler = QuerySampler(QueryWindow(1.0, 1024, 10**9), config.seed)
    for batch in new_data(2400, drifting=True).batches(128):
        prepared = system.prepare(batch)
        sampled, _ = sampler.sample(prepared, system.learner, K)
        if kept is None and len(sampled.requests):
            queries = QueryBatch(system.mirror.state, sampled)
            kept, before = sampled, served_result(system.mirror, queries, K)
            assert frozen.answer(before, queries, K) is before  # there is no copy yet
            frozen.follow(system.mirror, batch.watermark, batch.watermark + HOUR)  # nothing follows in this hour
            assert frozen.answer(before, queries, K) is before
            frozen.follow(system.mirror, batch.watermark, batch.watermark)
        system.learn(prepared)
    queries = QueryBatch(system.mirror.state, kept)
    live = served_result(system.mirror, queries, K)
    found = frozen.answer(live, queries, K)
    assert np.array_equal(found.ranks, before.ranks)
    assert np.array_equal(found.scored, before.scored)
    assert not np.array_equal(live.ranks, before.ranks)
    next_hour = kept._replace(ts=kept.ts + HOUR)
    assert frozen.answer(live, QueryBatch(system.mirror.state, next_hour), K) is live
    # Of a batch that crosses the hour the first queries are the copy's.
    crossing = kept._replace(ts=np.where(np.arange(len(kept.ts)) < 5, kept.ts, kept.ts + HOUR))
    found = frozen.answer(live, QueryBatch(system.mirror.state, crossing), K)
    assert np.array_equal(found.ranks, np.r_[before.ranks[:5], live.ranks[5:]])
