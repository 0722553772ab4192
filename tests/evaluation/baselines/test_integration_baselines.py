"""All baselines but the shuffled index, each against a naive implementation."""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
import pytest

from hsnn.evaluation.baselines.ann_indexes import ANN_INDEXES, AnnBaseline
from hsnn.evaluation.baselines.covisitation import (
    BACKWARD_WEIGHT,
    KAPPA,
    LAST_ITEMS,
    SMOOTHING_HALF_LIVES,
    CovisitationBaseline,
)
from hsnn.evaluation.baselines.popularity_filter import PopularityFilterBaseline
from hsnn.evaluation.baselines.two_tower import item_side, user_side
from hsnn.evaluation.errors import MissingPackageError, ProtocolError
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.methods import (
    BASELINES,
    CANDIDATE_ORDERS,
    COVISITATION_HALF_LIVES,
    POPULARITY_HALF_LIVES,
    parse_baselines,
)
from hsnn.evaluation.metrics.ranks import MISS, rank, ranks_of
from hsnn.evaluation.optional_packages import import_optional
from hsnn.trainer.config.model import ModelConfig

HOUR = 3_600_000
START = 1_700_000_000_000


def with_excluded(values: np.ndarray, queries, number: int) -> np.ndarray:
    values = values.astype(np.float64).copy()
    places = queries.excluded[number]
    values[places[places >= 0]] = -np.inf
    return values


@pytest.mark.slow
def test_popularity_ranks_and_tops_are_those_of_the_counts(moment):
    queries, ranking = moment.queries, moment.scored().ranking
    answers = moment.baseline("popularity").answer(moment.scored())
    for hours, counts in zip(POPULARITY_HALF_LIVES, ranking.counts, strict=True):
        found = answers[f"popularity:{hours}"]
        for number, place in enumerate(queries.targets.tolist()):
            values = with_excluded(counts, queries, number)
            assert found.ranks[number] == (rank(values, place) if place >= 0 else MISS)
            shown = found.top[number][found.top[number] >= 0]
            assert len(shown) == len(set(shown.tolist())) == 20
            assert sorted(values[shown].tolist()) == sorted(values.tolist())[-20:]


@pytest.mark.slow
def test_popularity_share_counts_the_first_items(moment):
    queries, ranking = moment.queries, moment.scored().ranking
    places = np.array([[*ranking.order[2][:5], -1], [*ranking.order[2][20:25], ranking.order[2][0]]])
    assert ranking.share_popular(places, 10)[2].tolist() == [1.0, 1 / 6]
    assert len(queries) > 20


@pytest.mark.slow
def test_the_popularity_filter_scores_the_most_popular_and_nothing_else(moment):
    queries, ranking = moment.queries, moment.scored().ranking
    scores = queries.score([queries.served_view()])[0]
    answers = PopularityFilterBaseline((7, 25)).answer(moment.scored())
    for at, hours in enumerate(POPULARITY_HALF_LIVES):
        for number, place in enumerate(queries.targets.tolist()):
            for budget in (7, 25):
                walked = [one for one in ranking.order[at].tolist() if one not in queries.excluded[number]][:budget]
                expected = rank(scores[number][walked], walked.index(place)) if place in walked else MISS
                assert answers[f"popularity_filter:{hours}@{budget}"].ranks[number] == expected
        assert answers[f"popularity_filter:{hours}"].ranks.tolist() == (
            answers[f"popularity_filter:{hours}@25"].ranks.tolist()
        )


def naive_covisitation(events, history, now, at, popularity):
    """Score every item by counting pairs one by one."""
    counts = defaultdict(float)
    for item, ts, before in events:
        worth = 2.0 ** (-(now - ts) / (COVISITATION_HALF_LIVES[at] * HOUR))
        for earlier in before[-LAST_ITEMS:]:
            if earlier >= 0 and earlier != item:
                counts[earlier, item] += worth
                counts[item, earlier] += BACKWARD_WEIGHT * worth
    known = [row for row in history[-LAST_ITEMS:] if row >= 0]
    scores = []
    for item, share in enumerate(popularity):
        parts = [
            (counts[row, item] + KAPPA * share) / (sum(value for (of, _), value in counts.items() if of == row) + KAPPA)
            for row in known
        ]
        scores.append(np.mean(parts) if parts else share)
    return scores


class FakeQueryBatch:
    """The part of a query batch that co-visitation uses; every row is retrievable."""

    def __init__(self, rows: int) -> None:
        self.rows = np.arange(rows)

    def positions(self, rows):
        return np.where(rows < len(self.rows), rows, -1)


@pytest.mark.parametrize("pause", [0, 3, 900])
def test_covisitation_counts_what_followed_what(pause):
    """Whatever the pause between batches: an origin moves when a half-life has passed 200 times."""
    rng, counted, events, clock = np.random.default_rng(pause), CovisitationBaseline(), [], START
    for _ in range(4):
        items, ts = rng.integers(0, 6, 5), clock + np.sort(rng.integers(0, HOUR, 5))
        history = rng.integers(-1, 6, (5, 7))
        counted.add(items, ts, history.astype(np.int32))
        events += list(zip(items.tolist(), ts.tolist(), history.tolist(), strict=True))
        clock += pause * HOUR
    popularity = np.array([[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]] * len(COVISITATION_HALF_LIVES))
    now = max(ts for _, ts, _ in events) + 60_000
    for history in ([-1, 3, 1, 1, 5, 0, 2], [-1] * 7, [-1] * 6 + [40]):
        known = np.array([row for row in history[-LAST_ITEMS:] if row >= 0], np.int64)
        found = counted.scores(known, now, FakeQueryBatch(6), popularity)
        for at in range(len(COVISITATION_HALF_LIVES)):
            expected = naive_covisitation(events, history, now, at, popularity[at])
            np.testing.assert_allclose(found[at], expected, rtol=1e-9)


@pytest.mark.slow
def test_covisitation_answers_with_its_scores(moment):
    queries, covisitation = moment.queries, moment.baseline("covisitation")
    ranking = moment.scored().ranking
    answers = covisitation.answer(moment.scored())
    for at, hours in enumerate(COVISITATION_HALF_LIVES):
        counts = ranking.counts[POPULARITY_HALF_LIVES.index(SMOOTHING_HALF_LIVES[at])]
        found = answers[f"covisitation:{hours}"]
        for number in range(len(queries)):
            history = queries.sampled.history[number, -LAST_ITEMS:].astype(np.int64)
            popularity = np.tile(counts / counts.sum(), (len(COVISITATION_HALF_LIVES), 1))
            scores = covisitation.scores(history[history >= 0], int(queries.sampled.ts[number]), queries, popularity)[
                at
            ]
            place = queries.targets[number]
            assert found.ranks[number] == (rank(with_excluded(scores, queries, number), place) if place >= 0 else MISS)
    by_popularity = moment.baseline("popularity").answer(moment.scored())["popularity:4.0"].ranks
    assert (answers["covisitation:12.0"].ranks < 20).mean() > (by_popularity < 20).mean()


@pytest.mark.slow
def test_the_two_tower_model_is_one_dot_product(moment):
    queries, model = moment.queries, moment.baseline("two_tower")
    view = model.view(queries)
    scores = queries.score([view])[0]
    assert not model.learner.network.seeded
    for number, now in enumerate(queries.queries.now.tolist()):
        features = queries.state.states.features(queries.rows, now)
        items = item_side(view.scorer, view.vectors[queries.rows], features)
        products = (user_side(view.encoded)[number] @ items.T).astype(np.float64)
        places = queries.excluded[number]
        products[places[places >= 0]] = -np.inf
        np.testing.assert_allclose(scores[number], products, atol=1e-4)
    ranks = ranks_of(scores, queries.targets)
    assert (ranks < 20).mean() > 0.4


@pytest.mark.slow
def test_the_two_tower_model_learns_the_same_stream_and_counts_the_same_rows(moment):
    ours, theirs = moment.system.learner, moment.baseline("two_tower").learner
    assert theirs.items.table.ids == ours.items.table.ids
    assert theirs.states.values.tobytes() == ours.states.values.tobytes()
    assert moment.baseline("two_tower").published == moment.system.versions > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ANN_INDEXES))
def test_an_index_finds_what_the_exhaustive_search_finds_if_it_may_score_everything(moment, name):
    queries, model = moment.queries, moment.baseline("two_tower")
    view = model.view(queries)
    scores = queries.score([view])[0]
    wide = moment.system.mirror.state.index.config.model_copy(update={"budget": 500, "beam": 500})
    baseline = AnnBaseline(name, model, wide)
    state = moment.system.mirror.state
    half = len(model.learner.items) // 2
    baseline.follow(state, np.arange(half), True)
    baseline.follow(state, np.arange(half, len(model.learner.items)), False)  # these arrived later
    found = baseline.answer(moment.scored())[name]
    exhaustive = ranks_of(scores, queries.targets)
    if name == "ivf":
        np.testing.assert_array_equal(found.ranks, exhaustive)
        np.testing.assert_array_equal(found.scored, np.isfinite(scores).sum(1))
    else:  # not every vector of such a graph can be reached under an inner product
        hit = found.ranks < MISS
        assert hit.sum() > 0.9 * (exhaustive < MISS).sum()
        assert (found.ranks[hit] <= exhaustive[hit]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ANN_INDEXES))
def test_an_index_scores_within_the_budget(moment, name):
    queries, model = moment.queries, moment.baseline("two_tower")
    view = model.view(queries)
    scores = queries.score([view])[0]
    baseline = moment.baseline(name)
    found = baseline.answer(moment.scored())[name]
    exhaustive = ranks_of(scores, queries.targets)
    assert (found.scored <= 25).all()
    assert found.scored.mean() > 20
    hit = found.ranks < MISS
    assert hit.sum() > 15
    assert (found.ranks[hit] <= exhaustive[hit]).all()
    assert (found.top >= 0).sum(1).max() == 20


@pytest.mark.parametrize("name", list(ANN_INDEXES))
def test_an_item_that_comes_again_has_its_new_vector_alone(name):
    graph = ANN_INDEXES[name](ModelConfig(nodes=2, beam=2))
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    graph.build(vectors[:10], np.arange(10))
    graph.append(vectors[10:], np.arange(10, 20))
    graph.append(9 * np.ones((1, 4), np.float32), np.array([3]))
    found = graph.search(np.ones((1, 4), np.float32), 10)[0]
    assert found[0] == 3
    known = found[found >= 0].tolist()
    assert len(set(known)) == len(known) > 4


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(MissingPackageError, match=r"hnsw needs hnswlib.*pip install 'hsnn\[evaluation\]'"):
        AnnBaseline("hnsw", None, ModelConfig())
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match="ivf needs faiss-cpu"):
        import_optional("faiss", "ivf", "faiss-cpu")


def test_baselines_are_parsed_and_ordered():
    assert parse_baselines("all") == BASELINES
    assert parse_baselines("none") == ()
    assert parse_baselines("ivf,popularity") == ("popularity", "ivf")
    with pytest.raises(ProtocolError, match=r"no baseline is called itemknn; there are: popularity, "):
        parse_baselines("popularity,itemknn")


@pytest.mark.slow
def test_baselines_that_are_not_requested_are_not_created(config, new_data, monkeypatch):
    for name in ("CovisitationBaseline", "TwoTowerBaseline", "ShuffledIndexBaseline", "AnnBaseline"):
        monkeypatch.setattr(f"hsnn.evaluation.baselines.registry.{name}", None)
    found = evaluate(new_data(1500), config, 64, query_share=0.5, snapshot_events=512, baselines=())
    methods = {column.partition("@")[0].partition(":")[0] for column in found.ranks}
    assert methods == {"served", "exhaustive", "popularity", *CANDIDATE_ORDERS}
