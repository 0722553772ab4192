from __future__ import annotations

import numpy as np
import pytest

from hsnn.serving.errors import NotReadyError, RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, HistoryItem, Request
from hsnn.serving.search.retrieval import retrieve

HOUR = 3_600_000


def test_items_of_the_users_cluster_come_first(plant, mirror):
    for cluster in range(6):
        answer = retrieve(mirror, [Request(user=f"u{cluster}", k=7)])[0]
        assert set(answer.items) == {f"c{cluster}-{number}" for number in range(3, 10)}
        assert answer.scores == sorted(answer.scores, reverse=True)
        assert answer.version == 1
        assert answer.as_of == plant.now


def test_a_score_is_the_dot_product_that_was_planted(plant, mirror):
    answer = retrieve(mirror, [Request(user="nobody", history=["c2-0"], k=5)])[0]
    vectors = dict(zip(plant.ids, plant.vectors, strict=True))
    planted = [5 * float(vectors["c2-0"][:-1] @ vectors[item][:-1]) for item in answer.items]
    assert answer.scores == pytest.approx(planted, abs=1e-4)


def test_whole_beam_and_budget_is_exhaustive(mirror):
    everything = RetrievalLimits(beam=6, budget=60)
    users = ["u0", "u3", "unknown"]
    beam = retrieve(mirror, [Request(user=user, k=60) for user in users], everything)
    exhaustive = retrieve(mirror, [Request(user=user, k=60, mode="exhaustive") for user in users], everything)
    for one, other in zip(beam, exhaustive, strict=True):
        assert one.items[:57] == other.items[:57]
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert one.stats.scored == other.stats.scored


def test_beam_scores_at_most_the_budget(mirror):
    stats = retrieve(mirror, [Request(user="u0", k=5)])[0].stats
    assert (stats.scored, stats.nodes, stats.corpus) == (12, 6, 60)
    assert stats.scored <= stats.dots == stats.candidates == 57  # an index that is not proven yields all items
    assert stats.sources == {"index": 12}


def test_a_proven_index_yields_the_items_of_the_beam(plant, mirror):
    plant.index_share = 0.22
    mirror.apply_state(plant.state())
    stats = retrieve(mirror, [Request(user="u0", k=5)])[0].stats
    assert (stats.scored, stats.nodes, stats.corpus) == (12, 2, 60)
    assert stats.candidates == 17, "two nodes of ten, less the user's three"
    assert stats.dots == 13, "0.22 of 60"


@pytest.mark.slow
def test_batch_equals_single(mirror):
    requests = [
        Request(user=user, k=8, mode=mode)
        for user in ("u0", "u1", "nobody")
        for mode in ("beam", "exact", "exhaustive", "popularity", "covisitation", "popularity_filter")
    ] * 20
    for request, batched in zip(requests, retrieve(mirror, requests), strict=True):
        single = retrieve(mirror, [request])[0]
        assert single.items == batched.items
        assert single.scores == pytest.approx(batched.scores, abs=1e-5)


def test_unknown_user_gets_a_full_answer(mirror):
    for mode in ("beam", "exact", "exhaustive", "popularity", "covisitation", "popularity_filter"):
        assert len(retrieve(mirror, [Request(user="nobody", k=10, mode=mode)])[0].items) == 10


def test_history_is_never_returned(mirror):
    for mode in ("beam", "exact", "exhaustive", "popularity", "covisitation", "popularity_filter"):
        answer = retrieve(mirror, [Request(user="u0", k=60, mode=mode)], RetrievalLimits(beam=6, budget=60))[0]
        assert not {"c0-0", "c0-1", "c0-2"} & set(answer.items)
        given = retrieve(mirror, [Request(user="u0", k=60, mode=mode, history=["c1-5", "nonsense"])])[0]
        assert "c1-5" not in given.items


def test_given_history_replaces_the_mirrored_one(mirror):
    for first in (HistoryItem("c4-0", 1), ("c4-0", 1), "c4-0"):
        answer = retrieve(mirror, [Request(user="u0", k=5, history=[first, "c4-1"])])[0]
        assert all(item.startswith("c4-") for item in answer.items)
        assert not {"c4-0", "c4-1"} & set(answer.items)


def test_popularity_counts_the_current_half_life(plant, mirror):
    for _ in range(5):
        plant.engage("x", "c5-9")
    plant.engage("x", "c4-4")
    mirror.apply_state(plant.state())
    answer = retrieve(mirror, [Request(user="y", k=2, mode="popularity")])[0]
    assert answer.items[0] == "c5-9"
    assert answer.scores[0] == pytest.approx(float(plant.states.counts([5 * 10 + 9], plant.now)[0, plant.half_life]))


def test_the_engaged_item_is_the_one_that_a_budget_of_one_scores(plant, mirror):
    plant.weights["state_tower.popularity"] = np.float32(1)
    mirror.load_version(plant.version())
    plant.engage("x", "c3-7")
    plant.engage("x", "c3-7")
    mirror.apply_state(plant.state())
    only = retrieve(mirror, [Request(user="y", history=["c3-0"], k=1)], RetrievalLimits(budget=1))[0]
    assert only.items == ["c3-7"]


def test_as_of_does_not_revive_the_expired(plant, mirror):
    plant.engage("late", "c0-0", after=30 * HOUR)
    mirror.apply_state(plant.state())
    answer = retrieve(mirror, [Request(user="y", k=60, mode="exhaustive", as_of=plant.now - 29 * HOUR)])[0]
    assert answer.items == ["c0-0"]
    assert answer.stats.corpus == 1


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (Request(user="u", mode="fancy"), "beam, exact, exhaustive, popularity, covisitation"),
        (Request(user="u", k=10_000), "1000"),
        (Request(user="u", filters=Filters(features={"colour": ["red"]})), "parity, tags, topic"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_can(mirror, request_, names):
    with pytest.raises(RequestError, match=names):
        retrieve(mirror, [request_])


def test_no_version_yet():
    with pytest.raises(NotReadyError, match="published"):
        retrieve(Mirror(), [Request(user="u")])
