"""All methods use the scores of the server, at the time of each query."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.harness.evaluator import MIN_K
from hsnn.evaluation.methods import TOP_K
from hsnn.evaluation.metrics.ranks import ranks_of, top_k
from hsnn.evaluation.queries.query_batch import top_of_order
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.search.filters import excluded_rows
from hsnn.serving.search.queries import facts_of_queries, remembered_items
from hsnn.serving.search.retrieval import retrieve

pytestmark = pytest.mark.slow


def exhaustive(moment):
    """Answers of the serving code that scores every item."""
    requests = [type(one)(**{**fields_of(one), "mode": "exhaustive", "k": 1000}) for one in moment.sampled.requests]
    return retrieve(moment.system.mirror, requests, RetrievalLimits(max_k=1000))


def fields_of(request):
    return {name: getattr(request, name) for name in request.__struct_fields__}


def test_scores_are_those_of_the_serving_code(moment):
    queries, names = moment.queries, moment.system.mirror.state.items.ids.ids
    scores = queries.score([queries.served_view()])[0]
    assert len(np.unique(queries.sampled.ts)) > 30  # each query has a time of its own
    for answer, row, place in zip(exhaustive(moment), scores, queries.targets, strict=True):
        expected = dict(zip(answer.items, answer.scores, strict=True))
        found = {names[item]: score for item, score in zip(queries.rows.tolist(), row.tolist(), strict=True)}
        assert {name for name, score in found.items() if np.isfinite(score)} == expected.keys()
        for name, score in expected.items():
            assert found[name] == pytest.approx(score, abs=1e-5)
        assert place < 0 or names[queries.rows[place]] in found


def test_queries_of_one_time_are_scored_like_queries_of_times_of_their_own(moment):
    """A batch with equal times goes through one call per time; the result is what one call per query gives."""
    queries = moment.queries
    same = queries.queries.now.copy()
    try:
        queries.queries.now[:] = same.max()
        together = queries.score([queries.served_view()])[0]
        view = queries.served_view()
        features = queries.state.states.features(queries.rows, int(same.max()))
        alone = np.stack(
            [
                view.scorer.score(view.encoded, number, view.vectors[queries.rows], features, view.nodes[queries.rows])
                for number in range(len(queries))
            ]
        )
        memory = remembered_items(queries.state, queries.queries, queries.sampled.requests)
        facts = facts_of_queries(queries.state, queries.queries, memory)
        pairs = view.scorer.pair_logits(facts)
        places = queries.positions(pairs.rows)
        known = places >= 0
        alone[pairs.query[known], places[known]] += pairs.scores[known]
    finally:
        queries.queries.now[:] = same
    queries.mask_excluded(alone)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_the_server_leaves_out_is_excluded_once(moment):
    queries = moment.queries
    assert queries.excluded.shape[1] == 3, "as many as the rule says, whatever the length of the history"
    scores = queries.score([queries.served_view()])[0]
    memory = remembered_items(queries.state, queries.queries, queries.sampled.requests)
    served = excluded_rows(queries.state, queries.sampled.requests, queries.queries, memory)
    assert queries.sampled.excluded.shape[1] >= served.shape[1]  # that of a part of the batch is padded
    for number, row in enumerate(served):
        assert sorted(set(row.tolist()) - {-1}) == sorted(set(queries.sampled.excluded[number].tolist()) - {-1})
        places = queries.positions(np.unique(row[row >= 0]))
        places = places[places >= 0]
        assert sorted(places.tolist()) == sorted(queries.excluded[number][queries.excluded[number] >= 0].tolist())
        assert np.flatnonzero(~np.isfinite(scores[number])).tolist() == sorted(places.tolist())


def test_positions_of_rows_that_are_not_retrievable(moment):
    queries = moment.queries
    assert queries.positions(np.array([-1, 10**6])).tolist() == [-1, -1]
    assert queries.positions(queries.rows).tolist() == list(range(len(queries.rows)))
    dead = np.flatnonzero(~queries.state.alive())
    assert (queries.positions(dead) == -1).all()


def test_the_best_of_an_order_are_the_best_that_were_scored():
    scores = np.array([[5.0, 4.0, -np.inf, 3.0, 2.0]])
    order = np.array([[4, 2, 3, 0, -1, 1]])
    assert sorted(top_of_order(order, scores, 2)[0].tolist()) == [-1, -1, -1, -1, 3, 4]
    assert TOP_K == 20
    assert MIN_K == 200


def test_exhaustive_ranks_are_positions_in_the_exhaustive_answer(moment):
    queries = moment.queries
    ranks = ranks_of(queries.score([queries.served_view()])[0], queries.targets)
    for answer, name, found in zip(exhaustive(moment), queries.sampled.target_ids, ranks, strict=True):
        if name in answer.items:
            assert answer.items.index(name) == pytest.approx(found, abs=0.5)
        else:
            assert found == np.inf


def test_tops_are_the_first_of_the_answer(moment):
    queries, names = moment.queries, moment.system.mirror.state.items.ids.ids
    tops = top_k(queries.score([queries.served_view()])[0], TOP_K)
    for answer, places in zip(exhaustive(moment), tops, strict=True):
        assert {names[row] for row in queries.rows[places]} == set(answer.items[:TOP_K])
