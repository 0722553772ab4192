"""Full scores are those of the plain formulas, for any number of items, and every item alone has the same one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, STATE_FEATURES, ItemCounters
from hsnn.trainer.retrieval.item_scores import ScoringColumns, StateTowerWeights, score_items
from hsnn.trainer.retrieval.leaf_scan import ScanQuery

ITEMS, LEAVES, WIDTH, STATE, HIDDEN = 300, 4, 8, 5, 12
DAY = int(24 * HOUR)
NOW = 40 * DAY


class World:
    """Items with random counts, vectors and leaves, one request, and the scores by plain formulas."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> NDArray[np.float32]:
            return rng.normal(size=shape).astype(np.float32)

        self.states = ItemCounters(ITEMS)
        self.states.values[:] = rng.exponential(3, (ITEMS, len(HALF_LIVES))) * rng.integers(0, 2, (ITEMS, 1))
        self.states.last[:] = NOW - rng.integers(-DAY, 30 * DAY, ITEMS)  # some are later than the request
        self.states.first[:] = self.states.last - rng.integers(0, 9 * DAY, ITEMS)
        self.states.half_life = int(rng.integers(len(HALF_LIVES)))
        self.tower = StateTowerWeights(
            first=normal(STATE_FEATURES - 1, HIDDEN),
            first_bias=normal(HIDDEN),
            second=normal(HIDDEN, STATE + 1),
            second_bias=normal(STATE + 1),
            popularity=0.7,
        )
        self.columns = ScoringColumns(
            vectors=normal(ITEMS, WIDTH + 1),
            leaf=rng.integers(-1, LEAVES, ITEMS).astype(np.int32),
            values=self.states.values,
            last=self.states.last,
            first=self.states.first,
            half_life=self.states.half_life,
            now=NOW,
        )
        pairs = np.sort(rng.choice(ITEMS, 40, replace=False))
        self.query = ScanQuery(
            vector=normal(WIDTH + STATE),
            leaf_scores=normal(LEAVES),
            leaf_logits=np.zeros(LEAVES, np.float32),
            mask=np.zeros(0, np.bool_),
            boosts=normal(ITEMS // 2),
            excluded=np.zeros(0, np.int64),
            pair_rows=pairs,
            pair_scores=normal(40),
            departed_to=0,
        )

    def expected(self) -> NDArray[np.float64]:
        """Scores of all items, (ITEMS,)."""
        tower, columns, query = self.tower, self.columns, self.query
        features = self.states.features(slice(None), NOW).astype(np.float64)
        hidden = np.maximum(features[:, :-1] @ tower.first + tower.first_bias, 0)
        state = hidden @ tower.second + tower.second_bias
        scores = columns.vectors[:, :WIDTH] @ query.vector[:WIDTH] + columns.vectors[:, WIDTH]
        scores = scores + state[:, :STATE] @ query.vector[WIDTH:] + state[:, STATE] + 0.7 * features[:, -1]
        scores += np.where(columns.leaf >= 0, query.leaf_scores[columns.leaf], query.leaf_scores.min())
        scores[: len(query.boosts)] += query.boosts
        scores[query.pair_rows] += query.pair_scores
        return np.asarray(scores, np.float64)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200, ITEMS])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_plain_formulas_in_any_order(seed: int, count: int) -> None:
    world = World(seed)
    rows = np.random.default_rng(seed).permutation(ITEMS)[:count]
    scores = score_items(world.query, rows, world.columns, world.tower)
    assert scores == pytest.approx(world.expected()[rows], rel=1e-5, abs=2e-5)


def test_a_score_does_not_depend_on_the_items_beside_it() -> None:
    world = World(0)
    together = score_items(world.query, np.arange(ITEMS), world.columns, world.tower)
    alone = [score_items(world.query, np.array([row]), world.columns, world.tower)[0] for row in range(ITEMS)]
    assert together.tolist() == [float(score) for score in alone]
