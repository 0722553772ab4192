"""STAN on sessions small enough to count by hand."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
import pytest

from hsnn.evaluation.baselines.recent_sessions import SESSION_ITEMS
from hsnn.evaluation.baselines.stan import AGES, DISTANCE_DECAY, SESSION_DECAY, StanBaseline

HOUR = 3_600_000


def test_the_three_decays():
    """Sessions 0: a b c at hour 0, 1: b d at hour 4; the current one, a then b, at hour 5."""
    stan = StanBaseline()
    stan.sessions.add(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 1, 3]), np.array([0, 0, 0, 4, 4]) * HOUR)
    found = stan.votes(np.array([1, 0]), now=5 * HOUR, own=-1, rows=5)
    step = exp(-1 / DISTANCE_DECAY)
    for hours, votes in zip(AGES, found, strict=True):
        first = (1 + exp(-1 / SESSION_DECAY)) / sqrt(3) * exp(-5 / hours)
        second = 1 / sqrt(2) * exp(-1 / hours)
        # The newest shared item of both is b: a and c are a place away from it, and so is d.
        expected = [first * step, first + second, first * step, second * step, 0.0]
        assert votes.tolist() == pytest.approx(expected)


def test_distance_is_from_the_newest_shared_item():
    """Session 0: a b c d; the current one: a, then something unknown. d is three places away from a."""
    stan = StanBaseline()
    stan.sessions.add(np.zeros(4, np.int64), np.arange(4), np.zeros(4, np.int64))
    votes = stan.votes(np.array([9, 0]), now=0, own=-1, rows=5)[0]
    assert (votes[1:4] / votes[0]).tolist() == pytest.approx([exp(-place / DISTANCE_DECAY) for place in (1, 2, 3)])


def test_distance_in_a_session_longer_than_is_kept():
    """The oldest items made room: places go on from where they were."""
    stan, count = StanBaseline(), SESSION_ITEMS + 2
    stan.sessions.add(np.zeros(count, np.int64), np.arange(count), np.zeros(count, np.int64))
    votes = stan.votes(np.array([count - 1]), now=0, own=-1, rows=count)[0]
    assert votes[:2].tolist() == [0.0, 0.0]
    assert votes[2] / votes[-1] == pytest.approx(exp(-(count - 3) / DISTANCE_DECAY))


@pytest.mark.slow
def test_it_finds_the_cluster_of_the_user(moment):
    answers = moment.baseline("stan").answer(moment.scored())
    popularity = moment.baseline("popularity").answer(moment.scored())["popularity:24.0"].ranks
    assert (answers["stan:120h"].ranks < 20).mean() > (popularity < 20).mean() + 0.2
