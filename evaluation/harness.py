"""Prequential evaluation: every event is a query before it is a lesson.

Time order, no leakage: an item exists from its first event on, and a batch's queries are asked before any of it is
learned or counted. Events that repeat an item of the user's visible history are not asked; a target that is not indexed
when asked is a miss for every method.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.methods import MEASURES, Judged, judge
from evaluation.popularity import Popularity
from evaluation.shuffled import ShuffledIndex
from evaluation.system import OfflineSystem
from streaming.datasets.base import Dataset
from trainer.config import TrainerConfig

Report = Callable[[int, int], None]
"""Called with the events learned and the events in all."""


@dataclass(frozen=True, slots=True)
class Run:
    """What an evaluation measured.

    Attributes
    ----------
    ranks : measure -> (queries,) float64
    scored, corpus : (queries,) int64
    sizes : (K,) int64
        Items per node at the end.
    events, versions, arrived, expired : int
    seconds : float
        Wall time, queries included; `training_seconds` of it were spent learning.
    """

    ranks: dict[str, NDArray[np.float64]]
    scored: NDArray[np.int64]
    corpus: NDArray[np.int64]
    sizes: NDArray[np.int64]
    events: int
    versions: int
    arrived: int
    expired: int
    seconds: float
    training_seconds: float


def evaluate(
    data: Dataset,
    config: TrainerConfig,
    batch_size: int = 256,
    *,
    query_share: float = 0.05,
    query_from: float = 0.5,
    snapshot_every: float = 600.0,
    snapshot_events: int = 2048,
    report: Report | None = None,
) -> Run:
    """Run a data set through the whole loop once.

    Parameters
    ----------
    query_share
        Share of the events that are asked.
    query_from
        Queries start after this share of the stream.
    snapshot_every, snapshot_events
        A new version comes after so many stream seconds, but not before so many events.
    """
    torch.set_num_threads(config.threads)
    system = OfflineSystem(config, snapshot_every, snapshot_events)
    popularity, shuffled = Popularity(), ShuffledIndex(config.model.leaves, config.seed)
    rng = np.random.default_rng([config.seed, 3])
    total = len(data.engagements)
    judged: list[Judged] = []
    began, training = time.perf_counter(), 0.0
    for batch in data.batches(batch_size):
        start = time.perf_counter()
        prepared = system.prepare(batch)
        training += time.perf_counter() - start
        popularity.reserve(len(system.learner.items))
        drawn = rng.random(len(prepared.items)) < query_share
        chosen = np.flatnonzero(drawn & ~(prepared.queries.history_items == prepared.items[:, None]).any(1))
        if len(chosen) and system.mirror.loaded and system.learner.events >= query_from * total:
            judged.append(judge(system.mirror, system.learner, shuffled, popularity, prepared, chosen))
        start = time.perf_counter()
        _, state, deltas, flipped = system.learn(prepared)
        training += time.perf_counter() - start
        if system.mirror.loaded:
            shuffled.follow(system.mirror.world, state, deltas, flipped)
        popularity.count(prepared.items, prepared.ts)
        if report is not None:
            report(system.learner.events, total)
    return _run(system, judged, time.perf_counter() - began, training)


def _run(system: OfflineSystem, judged: list[Judged], seconds: float, training: float) -> Run:
    ranks = np.concatenate([one.ranks for one in judged]) if judged else np.zeros((0, len(MEASURES)))
    return Run(
        {name: ranks[:, column] for column, name in enumerate(MEASURES)},
        np.concatenate([np.zeros(0, np.int64), *(one.scored for one in judged)]),
        np.concatenate([np.zeros(0, np.int64), *(one.corpus for one in judged)]),
        system.sizes(), system.learner.events, system.versions, system.arrived, system.expired, seconds, training,
    )  # fmt: skip
