"""A learner with a million items and a million users, and what happens to it next."""

from __future__ import annotations

import time

import numpy as np

from hsnn.streaming.schema.batch import Batch, Engagements
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.training.learner import Learner

# epoch ms of the first event, any
NOW = 1_700_000_000_000
# events per batch, the default of `streaming.batch_size`
_BATCH = 512
# rows that are made at once, so that a million ids are not all in one list
_BLOCK = 65_536


class LargeLearner:
    """A learner whose tables are full of made-up numbers, and an even stream of events on all of its rows.

    Parameters
    ----------
    rows
        Items, and users.
    """

    def __init__(self, rows: int) -> None:
        config = TrainerConfig()
        self.learner = Learner(config.model_copy(update={"index": config.index.model_copy(update={"seed_after": 0})}))
        self.rows, self.now = rows, NOW
        self._rng = np.random.default_rng(0)
        for at in range(0, rows, _BLOCK):
            numbers = range(at, min(at + _BLOCK, rows))
            self.learner.items.rows([f"item-{number}" for number in numbers])
            self.learner.users.rows([f"user-{number}" for number in numbers])
        self.learner.reserve()
        self._fill(self.learner)

    def settle(self) -> LargeLearner:
        """Learn until nodes are taken from the items, and all items are assigned."""
        while not self.learner.network.seeded or self.learner.passes.assigned is not None:
            self.step()
        return self

    def step(self) -> float:
        """Learn a batch; return the seconds that took."""
        batch = self._batch()
        started = time.perf_counter()
        self.learner.train(self.learner.prepare(batch))
        return time.perf_counter() - started

    def _fill(self, learner: Learner) -> None:
        rows, rng = self.rows, self._rng
        learner.items.features = [{"topic": number % 50, "source": "news"} for number in range(rows)]
        learner.items.tokens[:rows, :2] = rng.integers(0, learner.config.model.buckets, (rows, 2))
        learner.states.values[:rows] = rng.random(learner.states.values[:rows].shape)
        learner.states.last[:rows] = NOW - rng.integers(0, 10**7, rows)
        learner.states.first[:rows] = NOW - 10**8
        learner.histories.items[:rows] = rng.integers(0, rows, learner.histories.items[:rows].shape)
        learner.histories.times[:rows] = NOW - 1000
        learner.network.items.ids.weight[:rows] = 0.1 * rng.standard_normal(
            learner.network.items.ids.weight[:rows].shape
        )

    def _batch(self) -> Batch:
        ts = self.now + np.arange(1, _BATCH + 1)
        self.now = int(ts[-1])
        items, users = self._rng.integers(0, self.rows, (2, _BATCH)).tolist()
        events = Engagements(
            ts=ts,
            sent_at=ts,
            user=[f"user-{row}" for row in users],
            item=[f"item-{row}" for row in items],
            action=["click"] * _BATCH,
            value=np.full(_BATCH, np.nan, np.float32),
            context=[None] * _BATCH,
        )
        return Batch(engagements=events, positions={}, watermark=self.now, items=[], item_sent_at=[])
