"""A small planted data set: users of cluster c click items of cluster c."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from hsnn.evaluation.baselines.base import Baseline, ScoredBatch
from hsnn.evaluation.harness.evaluator import Evaluator
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.prequential import Run, evaluate
from hsnn.evaluation.methods import BASELINES
from hsnn.evaluation.queries.query_batch import QueryBatch
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow, SampledQueries
from hsnn.streaming.datasets.base import Dataset
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Item
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig

START = 1_700_000_000_000
CLUSTERS, PER_CLUSTER = 6, 20
CONFIG = TrainerConfig(
    model=ModelConfig(
        dim=8, state_dim=4, hidden=16, history=4, token_dim=4, buckets=256, nodes=12, node_heads=2, beam=3, budget=25
    ),
    index=IndexConfig(seed_after=512, balance=1.0),
    uniform_negatives=48,
    threads=1,
)
torch.set_num_threads(1)


def planted(events: int = 4000, *, step: int = 1000, users: int = 60, seed: int = 0, drifting: bool = False) -> Dataset:
    """Clicks; with `drifting`, half of the catalogue is replaced by new items on the way."""
    rng = np.random.default_rng(seed)
    who = rng.integers(users, size=events)
    which = np.minimum(rng.geometric(0.12, events) - 1, PER_CLUSTER - 1)
    if drifting:
        which += PER_CLUSTER // 2 * (np.arange(events) * 6 // events)
    items = [f"c{user % CLUSTERS}-{place}" for user, place in zip(who, which, strict=True)]
    return dataset([f"u{user}" for user in who], items, START + step * (1 + np.arange(events)))


def dataset(users: list[str], items: list[str], ts: np.ndarray) -> Dataset:
    count = len(users)
    first = {}
    for at, name in enumerate(items):
        first.setdefault(name, Item(id=name, ts=int(ts[at]) - 1, features={"topic": name.partition("-")[0]}))
    ts = ts.astype(np.int64)
    clicks = Engagements(
        ts, ts.copy(), users, items, ["click"] * count, np.full(count, np.nan, np.float32), [None] * count
    )
    return Dataset("planted", clicks, list(first.values()), [], {}, np.arange(count))


@pytest.fixture
def config() -> TrainerConfig:
    return CONFIG


@pytest.fixture(scope="session")
def base() -> TrainerConfig:
    return CONFIG


@pytest.fixture(scope="session")
def planted_data() -> Callable[..., Dataset]:
    return planted


@pytest.fixture
def new_data() -> Callable[..., Dataset]:
    """``new_data(events, ...)``: see `planted`."""
    return planted


@pytest.fixture
def made_of() -> Callable[..., Dataset]:
    """``made_of(users, items, ts)``: exactly these clicks."""
    return dataset


@pytest.fixture(scope="session")
def run() -> Run:
    """An evaluation of the planted data set."""
    return evaluate(planted(6000), CONFIG, 64, query_share=0.25, snapshot_events=512)


class Moment(NamedTuple):
    """A trained system and its baselines, just before a batch is learned whose queries are to be answered."""

    system: OfflineSystem
    evaluator: Evaluator
    sampled: SampledQueries
    queries: QueryBatch

    def baseline(self, name: str) -> Baseline:
        (baseline,) = [baseline for baseline in self.evaluator.baselines if baseline.name == name]
        return baseline

    def scored(self) -> ScoredBatch:
        """The scored queries, as the baselines get them."""
        return self.evaluator._score(self.queries)


@pytest.fixture(scope="session")
def moment() -> Moment:
    """After 5,888 events; 40 queries or more, at times of their own."""
    system, evaluator = OfflineSystem(CONFIG, 0.0, 512), Evaluator(CONFIG, BASELINES)
    sampler = QuerySampler(QueryWindow(1.0, 5888, 10**9), CONFIG.seed)
    for batch in planted(6100).batches(128):
        prepared = system.prepare(batch)
        evaluator.prepare(batch)
        sampled, history = sampler.sample(prepared, system.learner, 200)
        if len(sampled.requests):
            return Moment(system, evaluator, sampled, QueryBatch(system.mirror.state, sampled))
        learned = system.learn(prepared)
        evaluator.learn(prepared, history, system, learned)
    raise AssertionError("no query was sampled")
