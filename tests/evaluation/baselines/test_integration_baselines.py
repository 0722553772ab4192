"""Popularity, its filter, co-visitation, the two-tower model and indexes over it, against plain accounts of each."""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
import pytest

from hsnn.evaluation.baselines.ann_indexes import GRAPHS, Neighbours, import_optional
from hsnn.evaluation.baselines.covisitation import BACKWARD, HOURS, KAPPA, LAST, SMOOTHING, CoVisitation
from hsnn.evaluation.baselines.popularity import HOURS as POPULARITY_HOURS
from hsnn.evaluation.baselines.popularity import Leaders, filtered, popular
from hsnn.evaluation.baselines.registry import BASELINES, parse_baselines
from hsnn.evaluation.baselines.two_tower import item_side, user_side
from hsnn.evaluation.errors import MissingPackageError, ProtocolError
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.metrics.budget_curves import ORDERS
from hsnn.evaluation.metrics.ranks import MISS, rank, ranks_of
from hsnn.trainer.config.model import ModelConfig

HOUR = 3_600_000
START = 1_700_000_000_000


def leaders_of(moment) -> Leaders:
    return Leaders(moment.judge._popularity, moment.field, 60)


def barred(values: np.ndarray, field, number: int) -> np.ndarray:
    values = values.astype(np.float64).copy()
    places = field.barred[number]
    values[places[places >= 0]] = -np.inf
    return values


@pytest.mark.slow
def test_popularity_ranks_and_tops_are_those_of_the_counts(moment):
    field, leaders = moment.field, leaders_of(moment)
    answers = popular(field, leaders)
    for hours, counts in zip(POPULARITY_HOURS, leaders.counts, strict=True):
        found = answers[f"popularity:{hours}"]
        for number, place in enumerate(field.places.tolist()):
            values = barred(counts, field, number)
            assert found.ranks[number] == (rank(values, place) if place >= 0 else MISS)
            shown = found.top[number][found.top[number] >= 0]
            assert len(shown) == len(set(shown.tolist())) == 20
            assert sorted(values[shown].tolist()) == sorted(values.tolist())[-20:]


@pytest.mark.slow
def test_popularity_share_counts_the_first_items(moment):
    field, leaders = moment.field, leaders_of(moment)
    places = np.array([[*leaders.order[2][:5], -1], [*leaders.order[2][20:25], leaders.order[2][0]]])
    assert leaders.among(places, 10)[2].tolist() == [1.0, 1 / 6]
    assert len(field) > 20


@pytest.mark.slow
def test_the_popularity_filter_scores_the_most_popular_and_nothing_else(moment):
    field, leaders = moment.field, leaders_of(moment)
    scores = field.score([field.own()])[0]
    answers, curves = filtered(field, leaders, scores, (7, 25))
    for at, hours in enumerate(POPULARITY_HOURS):
        for number, place in enumerate(field.places.tolist()):
            for budget in (7, 25):
                walked = [one for one in leaders.order[at].tolist() if one not in field.barred[number]][:budget]
                expected = rank(scores[number][walked], walked.index(place)) if place in walked else MISS
                assert curves[f"popularity_filter:{hours}@{budget}"][number] == expected
        assert answers[f"popularity_filter:{hours}"].ranks.tolist() == (
            curves[f"popularity_filter:{hours}@25"].tolist()
        )


def plain_covisitation(events, history, now, at, popularity):
    """Score every item, counting pair by pair."""
    counts = defaultdict(float)
    for item, ts, before in events:
        worth = 2.0 ** (-(now - ts) / (HOURS[at] * HOUR))
        for earlier in before[-LAST:]:
            if earlier >= 0 and earlier != item:
                counts[earlier, item] += worth
                counts[item, earlier] += BACKWARD * worth
    known = [row for row in history[-LAST:] if row >= 0]
    scores = []
    for item, share in enumerate(popularity):
        parts = [
            (counts[row, item] + KAPPA * share) / (sum(value for (of, _), value in counts.items() if of == row) + KAPPA)
            for row in known
        ]
        scores.append(np.mean(parts) if parts else share)
    return scores


class Everything:
    """A field on which every row is alive."""

    def __init__(self, rows: int) -> None:
        self.rows = np.arange(rows)

    def at(self, rows):
        return np.where(rows < len(self.rows), rows, -1)


@pytest.mark.parametrize("pause", [0, 3, 900])
def test_covisitation_counts_what_followed_what(pause):
    """Whatever the pause between batches: an origin moves when a half-life has passed 200 times."""
    rng, counted, events, clock = np.random.default_rng(pause), CoVisitation(), [], START
    for _ in range(4):
        items, ts = rng.integers(0, 6, 5), clock + np.sort(rng.integers(0, HOUR, 5))
        history = rng.integers(-1, 6, (5, 7))
        counted.count(items, ts, history.astype(np.int32))
        events += list(zip(items.tolist(), ts.tolist(), history.tolist(), strict=True))
        clock += pause * HOUR
    popularity = np.array([[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]] * len(HOURS))
    now = max(ts for _, ts, _ in events) + 60_000
    for history in ([-1, 3, 1, 1, 5, 0, 2], [-1] * 7, [-1] * 6 + [40]):
        known = np.array([row for row in history[-LAST:] if row >= 0], np.int64)
        found = counted.scores(known, now, Everything(6), popularity)
        for at in range(len(HOURS)):
            expected = plain_covisitation(events, history, now, at, popularity[at])
            np.testing.assert_allclose(found[at], expected, rtol=1e-9)


@pytest.mark.slow
def test_covisitation_answers_with_its_scores(moment):
    field, covisitation = moment.field, moment.judge._covisitation
    leaders = leaders_of(moment)
    answers = covisitation.judge(field, leaders.counts)
    for at, hours in enumerate(HOURS):
        counts = leaders.counts[POPULARITY_HOURS.index(SMOOTHING[at])]
        found = answers[f"covisitation:{hours}"]
        for number in range(len(field)):
            history = field.asked.history[number, -LAST:].astype(np.int64)
            popularity = np.tile(counts / counts.sum(), (len(HOURS), 1))
            scores = covisitation.scores(history[history >= 0], int(field.asked.ts[number]), field, popularity)[at]
            place = field.places[number]
            assert found.ranks[number] == (rank(barred(scores, field, number), place) if place >= 0 else MISS)
    by_popularity = popular(field, leaders)["popularity:4.0"].ranks
    assert (answers["covisitation:12.0"].ranks < 20).mean() > (by_popularity < 20).mean()


@pytest.mark.slow
def test_the_two_tower_model_is_one_dot_product(moment):
    field, model = moment.field, moment.judge._two_tower
    view = model.view(field)
    scores = field.score([view])[0]
    assert not model.learner.network.seeded
    for number, now in enumerate(field.queries.now.tolist()):
        features = field.state.states.features(field.rows, now)
        items = item_side(view.scorer, view.vectors[field.rows], features)
        products = (user_side(view.encoded)[number] @ items.T).astype(np.float64)
        places = field.barred[number]
        products[places[places >= 0]] = -np.inf
        np.testing.assert_allclose(scores[number], products, atol=1e-4)
    ranks = ranks_of(scores, field.places)
    assert (ranks < 20).mean() > 0.4


@pytest.mark.slow
def test_the_two_tower_model_learns_the_same_stream_and_counts_the_same_rows(moment):
    ours, theirs = moment.system.learner, moment.judge._two_tower.learner
    assert theirs.items.table.ids == ours.items.table.ids
    assert theirs.states.values.tobytes() == ours.states.values.tobytes()
    assert moment.judge._two_tower.published == moment.system.versions > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", list(GRAPHS))
def test_an_index_finds_what_the_exhaustive_search_finds_if_it_may_score_everything(moment, name):
    field, model = moment.field, moment.judge._two_tower
    view = model.view(field)
    scores = field.score([view])[0]
    wide = moment.system.mirror.state.index.config.model_copy(update={"budget": 500, "beam": 500})
    rival = Neighbours(name, wide)
    world = moment.system.mirror.state
    half = len(model.learner.items) // 2
    rival.follow(model, world, np.arange(half), True)
    rival.follow(model, world, np.arange(half, len(model.learner.items)), False)  # these arrived later
    found = rival.judge(field, view, scores)[name]
    exhaustive = ranks_of(scores, field.places)
    if name == "ivf":
        np.testing.assert_array_equal(found.ranks, exhaustive)
        np.testing.assert_array_equal(found.scored, np.isfinite(scores).sum(1))
    else:  # not every vector of such a graph can be reached under an inner product
        hit = found.ranks < MISS
        assert hit.sum() > 0.9 * (exhaustive < MISS).sum()
        assert (found.ranks[hit] <= exhaustive[hit]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(GRAPHS))
def test_an_index_scores_within_the_budget(moment, name):
    field, model = moment.field, moment.judge._two_tower
    view = model.view(field)
    scores = field.score([view])[0]
    (rival,) = [one for one in moment.judge._neighbours if one.name == name]
    found = rival.judge(field, view, scores)[name]
    exhaustive = ranks_of(scores, field.places)
    assert (found.scored <= 25).all()
    assert found.scored.mean() > 20
    hit = found.ranks < MISS
    assert hit.sum() > 15
    assert (found.ranks[hit] <= exhaustive[hit]).all()
    assert (found.top >= 0).sum(1).max() == 20


@pytest.mark.parametrize("name", list(GRAPHS))
def test_an_item_that_comes_again_has_its_new_vector_alone(name):
    graph = GRAPHS[name](ModelConfig(nodes=2, beam=2))
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
        Neighbours("hnsw", ModelConfig())
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match="ivf needs faiss-cpu"):
        import_optional("faiss", "ivf", "faiss-cpu")


def test_baselines_are_chosen_by_name():
    assert parse_baselines("all") == BASELINES
    assert parse_baselines("none") == ()
    assert parse_baselines("ivf,popularity") == ("popularity", "ivf")
    with pytest.raises(ProtocolError, match=r"no baseline is called itemknn; there are: popularity, "):
        parse_baselines("popularity,itemknn")


@pytest.mark.slow
def test_what_is_not_asked_for_is_not_made(config, new_data, monkeypatch):
    for name in ("CoVisitation", "TwoTower", "ShuffledIndex", "Neighbours"):
        monkeypatch.setattr(f"hsnn.evaluation.harness.evaluator.{name}", None)
    found = evaluate(new_data(1500), config, 64, query_share=0.5, snapshot_events=512, baselines=())
    methods = {column.partition("@")[0].partition(":")[0] for column in found.ranks}
    assert methods == {"served", "exhaustive", "popularity", *ORDERS}
