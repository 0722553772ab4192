"""V-SkNN on sessions small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.evaluation.baselines.vsknn import VsknnBaseline


@pytest.fixture
def vsknn() -> VsknnBaseline:
    """Sessions 0: a b c, 1: b d, 2: d e, with a, b, ... = 0, 1, ..."""
    baseline = VsknnBaseline()
    baseline.sessions.add(np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 1, 3, 3, 4]), np.arange(7) * 1000)
    return baseline


def test_neighbours_vote_with_what_they_share(vsknn):
    """Current session: a, then b. Weights of b and a: reciprocal 1 and 1/2, linear 1 and 0.9."""
    reciprocal, linear = vsknn.votes(np.array([1, 0]), now=10_000, own=-1, rows=6)
    # Session 0 shares both, session 1 shares b; the newest shared item of both is b, of weight 1. Session 2: nothing.
    assert reciprocal.tolist() == pytest.approx([1.5, 2.5, 1.5, 1.0, 0.0, 0.0])
    assert linear.tolist() == pytest.approx([1.9, 2.9, 1.9, 1.0, 0.0, 0.0])
    (alone,) = vsknn.votes(np.array([1, 0]), now=10_000, own=-1, rows=6, which=[1])
    assert alone.tolist() == linear.tolist()


def test_the_newest_shared_item_weighs_the_vote(vsknn):
    """Current session: b, then an item that nobody had. The newest shared item is at the second place."""
    reciprocal, linear = vsknn.votes(np.array([5, 1]), now=10_000, own=-1, rows=6)
    assert reciprocal.tolist() == pytest.approx([0.25, 0.5, 0.25, 0.25, 0.0, 0.0])
    assert linear.tolist() == pytest.approx([0.81, 1.62, 0.81, 0.81, 0.0, 0.0])


def test_the_current_session_does_not_vote(vsknn):
    assert vsknn.votes(np.array([1, 0]), now=0, own=0, rows=6)[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.slow
def test_it_finds_the_cluster_of_the_user(moment):
    answers = moment.baseline("vsknn").answer(moment.scored())
    popularity = moment.baseline("popularity").answer(moment.scored())["popularity:24.0"].ranks
    assert (answers["vsknn:reciprocal-24h"].ranks < 20).mean() > (popularity < 20).mean() + 0.2
    assert set(answers) == set(moment.baseline("vsknn").columns)
    chosen = answers[moment.evaluator.chosen["vsknn"]]
    assert chosen.top.shape == (len(moment.queries), 20)
    for number, place in enumerate(moment.queries.targets.tolist()):
        assert (place in chosen.top[number].tolist()) == (chosen.ranks[number] < 20) or chosen.ranks[number] % 1
