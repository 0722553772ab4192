"""Fixtures: planted data sets, an evaluation of one, and a trained system just before its queries are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from hsnn.evaluation.baselines.base import Baseline, ScoredBatch
from hsnn.evaluation.baselines.registry import declarations
from hsnn.evaluation.harness.evaluator import Evaluator
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.prequential import Run, evaluate
from hsnn.evaluation.queries.query_batch import QueryBatch
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow, SampledQueries
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.exclude import ExcludeConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from tests.evaluation.planted_data import dataset_of_clicks, planted

CONFIG = TrainerConfig(
    model=ModelConfig(
        dim=8, state_dim=4, hidden=16, history=4, token_dim=4, buckets=256, nodes=12, node_heads=2, beam=3, budget=25
    ),
    index=IndexConfig(seed_after=512, balance=1.0),
    uniform_negatives=48,
    exclude=ExcludeConfig(items=3, time=0.0),  # the planted hour is one session: all items would be left out
    threads=1,
)
torch.set_num_threads(1)


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
def dataset_of() -> Callable[..., Dataset]:
    """``dataset_of(users, items, ts)``: exactly these clicks."""
    return dataset_of_clicks


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
    system, evaluator = OfflineSystem(CONFIG, 0.0, 512), Evaluator(CONFIG, tuple(declarations()))
    sampler = QuerySampler(QueryWindow(1.0, 5888, 10**9), CONFIG.seed)
    for batch in planted(6100).batches(128):
        prepared = system.prepare(batch)
        evaluator.prepare(batch)
        sampled, history = sampler.sample(prepared, system.learner, 200)
        if len(sampled.requests):
            evaluator.choose_settings()
            return Moment(system, evaluator, sampled, QueryBatch(system.mirror.state, sampled))
        learned = system.learn(prepared)
        evaluator.learn(prepared, history, system, learned)
    raise AssertionError("no query was sampled")
