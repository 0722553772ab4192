"""All baselines but the shuffled index, each against a naive implementation."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from hsnn.evaluation.baselines import registry
from hsnn.evaluation.baselines.ann_indexes import ANN_INDEXES, AnnBaseline
from hsnn.evaluation.baselines.popularity_filter import PopularityFilterBaseline
from hsnn.evaluation.baselines.registry import declarations, parse_baselines
from hsnn.evaluation.baselines.two_tower import item_side, user_side
from hsnn.evaluation.errors import MissingPackageError, ProtocolError
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.methods import CANDIDATE_ORDERS, MODEL_METHODS, POPULARITY_HALF_LIVES
from hsnn.evaluation.metrics.ranks import MISS, rank, ranks_of
from hsnn.evaluation.optional_packages import import_optional
from hsnn.trainer.config.model import ModelConfig


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
    answers = {}
    for hours in POPULARITY_HALF_LIVES:  # the curve is that of the chosen half-life
        scored = replace(moment.scored(), chosen={"popularity_filter": f"popularity_filter:{hours}"})
        answers |= PopularityFilterBaseline((7, 25)).answer(scored)
    for at, hours in enumerate(POPULARITY_HALF_LIVES):
        for number, place in enumerate(queries.targets.tolist()):
            for budget in (7, 25):
                walked = [one for one in ranking.order[at].tolist() if one not in queries.excluded[number]][:budget]
                expected = rank(scores[number][walked], walked.index(place)) if place in walked else MISS
                assert answers[f"popularity_filter:{hours}@{budget}"].ranks[number] == expected
        assert answers[f"popularity_filter:{hours}"].ranks.tolist() == (
            answers[f"popularity_filter:{hours}@25"].ranks.tolist()
        )


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
    assert parse_baselines("all") == tuple(declarations())
    assert parse_baselines("counting") == ("covisitation", "popularity", "stan", "vsknn")
    assert not {"two_tower", "hnsw", "ivf"} & set(parse_baselines("default"))
    assert parse_baselines("none") == ()
    assert parse_baselines("ivf,popularity") == ("popularity", "ivf")
    with pytest.raises(ProtocolError, match=r"no baseline is called itemknn; there are: covisitation, "):
        parse_baselines("popularity,itemknn")


@pytest.mark.slow
def test_baselines_that_are_not_requested_are_not_created(config, new_data, monkeypatch):
    known = {name: replace(declared, create=None) for name, declared in declarations().items() if name != "popularity"}
    monkeypatch.setattr(registry, "declarations", lambda: {"popularity": declarations()["popularity"], **known})
    found = evaluate(new_data(1500), config, 64, query_share=0.5, snapshot_events=512, baselines=())
    methods = {column.partition("@")[0].partition(":")[0] for column in found.ranks}
    assert methods == {*MODEL_METHODS, "popularity", *CANDIDATE_ORDERS}


def test_a_baseline_is_one_file(tmp_path, monkeypatch):
    """A module that lies beside the others is found, without a line anywhere else."""
    import hsnn.evaluation.baselines as package

    (tmp_path / "always_first.py").write_text(
        "from hsnn.evaluation.baselines.base import BaselineDeclaration\n"
        "BASELINES = (BaselineDeclaration('always_first', lambda given: None, counting=True),)\n"
    )
    module = "hsnn.evaluation.baselines.always_first"
    try:
        with monkeypatch.context() as changed:
            changed.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
            declarations.cache_clear()
            assert "always_first" in declarations()
            assert "always_first" in parse_baselines("default")
    finally:
        declarations.cache_clear()
        sys.modules.pop(module, None)
    assert "always_first" not in declarations()
