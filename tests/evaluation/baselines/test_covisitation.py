"""Co-visitation against counting pairs one by one."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from hsnn.evaluation.baselines.covisitation import (
    BACKWARD_WEIGHT,
    HALF_LIVES,
    KAPPA,
    LAST_ITEMS,
    SMOOTHING_HALF_LIVES,
    WEIGHTINGS,
    CovisitationBaseline,
)
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES
from hsnn.evaluation.metrics.ranks import MISS, rank

HOUR = 3_600_000
START = 1_700_000_000_000
SETTINGS = list(product(WEIGHTINGS, range(len(HALF_LIVES))))


def naive_covisitation(events, history, *, now, weighting, half_life, popularity):
    """Score every item by counting pairs one by one."""
    counts, weights = defaultdict(float), WEIGHTINGS[weighting]
    for item, ts, before in events:
        worth = 2.0 ** (-(now - ts) / (half_life * HOUR))
        for weight, earlier in zip(weights, before[::-1], strict=False):
            if earlier >= 0 and earlier != item:
                counts[earlier, item] += weight * worth
                counts[item, earlier] += BACKWARD_WEIGHT * weight * worth
    known = [(weight, row) for weight, row in zip(weights, history[::-1], strict=False) if row >= 0]
    scores = []
    for item, share in enumerate(popularity):
        parts = [
            weight
            * (counts[row, item] + KAPPA * share)
            / (sum(value for (of, _), value in counts.items() if of == row) + KAPPA)
            for weight, row in known
        ]
        scores.append(sum(parts) / sum(weight for weight, _ in known) if parts else share)
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
        history = rng.integers(-1, 6, (5, LAST_ITEMS))
        counted.add(items, ts, history.astype(np.int32))
        events += list(zip(items.tolist(), ts.tolist(), history.tolist(), strict=True))
        clock += pause * HOUR
    popularity = np.array([[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]] * len(SETTINGS))
    now = max(ts for _, ts, _ in events) + 60_000
    for history in ([-1, 4, 2, 0, 3, 1, 1, 5, 0, 2], [-1] * 10, [-1] * 9 + [40]):
        found = counted.scores(np.array(history), now, FakeQueryBatch(6), popularity)
        for at, (weighting, half_life) in enumerate(SETTINGS):
            expected = naive_covisitation(
                events,
                history,
                now=now,
                weighting=weighting,
                half_life=HALF_LIVES[half_life],
                popularity=popularity[at],
            )
            np.testing.assert_allclose(found[at], expected, rtol=1e-9)
        some = counted.scores(np.array(history), now, FakeQueryBatch(6), popularity[[7, 2]], settings=[7, 2])
        np.testing.assert_allclose(some, found[[7, 2]], rtol=1e-12)


@pytest.mark.slow
def test_covisitation_answers_with_its_scores(moment):
    queries, covisitation = moment.queries, moment.baseline("covisitation")
    ranking = moment.scored().ranking
    answers = covisitation.answer(moment.scored())
    for at, (_, half_life) in enumerate(SETTINGS):
        counts = ranking.counts[POPULARITY_HALF_LIVES.index(SMOOTHING_HALF_LIVES[half_life])]
        popularity = np.tile(counts / counts.sum(), (len(SETTINGS), 1))
        found = answers[covisitation.columns[at]]
        for number, place in enumerate(queries.targets.tolist()):
            history, now = queries.sampled.history[number], int(queries.sampled.ts[number])
            scores = covisitation.scores(history, now, queries, popularity)[at]
            excluded = queries.excluded[number]
            scores[excluded[excluded >= 0]] = -np.inf
            assert found.ranks[number] == (rank(scores, place) if place >= 0 else MISS)
    by_popularity = moment.baseline("popularity").answer(moment.scored())["popularity:4.0"].ranks
    assert (answers["covisitation:equal5-12h"].ranks < 20).mean() > (by_popularity < 20).mean()
