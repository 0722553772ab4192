"""Prequential evaluation: every event is a query before it is a lesson.

Time order, no leakage: an item exists from its first event on, and a batch's queries are asked before any of it is
learned or counted. Events that repeat one of the user's last items are not asked; a target that is not indexed when
asked is a miss for every method.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.registry import DEFAULT_BASELINES, ordered_baselines
from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.data_config import join_config
from hsnn.evaluation.harness.evaluator import Judge
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.query_sampling import Sampler, Window
from hsnn.evaluation.harness.recorder import Tally
from hsnn.evaluation.metrics.assignment_churn import Churn
from hsnn.evaluation.metrics.run import Run
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads

__all__ = ["Run", "evaluate"]

Report = Callable[[int, int], None]
"""Called with the events learned and the events in all."""


def evaluate(
    data: Dataset,
    config: TrainerConfig,
    batch_size: int = 512,
    *,
    query_share: float = 0.05,
    query_from: float = 0.5,
    query_to: float = 1.0,
    baselines: Sequence[str] = DEFAULT_BASELINES,
    snapshot_every: float = 600.0,
    snapshot_events: int = 2048,
    report: Report | None = None,
) -> Run:
    """Run a data set through the whole loop once.

    Parameters
    ----------
    query_share
        Share of the events that are asked.
    query_from, query_to
        Queries start and end there: shares of the stream up to 1, numbers of events above. The pass ends with them.
    baselines
        What to compare with, out of `hsnn.evaluation.baselines.registry.BASELINES`.
    snapshot_every, snapshot_events
        A new version comes after so many stream seconds, but not before so many events.

    Raises
    ------
    ProtocolError
        The window holds no event, a baseline is not known, or `trainer.ids` limits the id tables.
    MissingPackageError
        A baseline needs a package that is not installed.
    """
    use_threads(config.threads)
    if config.ids.limited:
        raise ProtocolError(
            "trainer.ids limits the id tables, so rows change hands, and the baselines count by row; "
            "judge the model without trainer.ids"
        )
    window = Window.of(len(data.engagements), query_share, query_from, query_to)
    sampler, tally, churn = Sampler(window, config.seed), Tally(), Churn()
    system = OfflineSystem(config, snapshot_every, snapshot_events)
    names = ordered_baselines(baselines)
    judge = Judge(config, names)
    began, training, judging = time.perf_counter(), 0.0, 0.0
    judgements: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for batch in data.batches(batch_size, join_config(config)):
        if system.learner.events >= window.stop:
            break
        start = time.perf_counter()
        prepared = system.prepare(batch)
        training += time.perf_counter() - start
        judge.prepare(batch)
        start = time.perf_counter()
        asked, history = sampler.draw(prepared, system.learner, judge.k)
        if system.mirror.loaded:
            judge.ask(system, asked, tally)
        judging += time.perf_counter() - start
        churn.before(system.mirror)
        start = time.perf_counter()
        step = system.learn(prepared)
        training += time.perf_counter() - start
        if prepared.judged is not None and step.report.chances is not None and system.learner.events > window.start:
            judgements.append((step.report.chances[:, 0], prepared.judged.labels[:, 0]))
        if step.flipped:
            churn.after(system.mirror, system.learner.events)
        judge.learned(prepared, history, system, step)
        if report is not None:
            report(system.learner.events, window.stop)
    churned, traffic = churn.per_100k()
    return Run(
        ranks=tally.ranks(),
        work=tally.work(),
        event=tally.plain("event"),
        ts=tally.plain("ts"),
        age=tally.plain("age"),
        corpus=tally.plain("corpus"),
        coverage=tally.coverage(),
        popular=tally.popular(),
        sizes=system.sizes(),
        churn=churned,
        traffic_churn=traffic,
        baselines=names,
        budget=config.model.budget,
        events=system.learner.events,
        versions=system.versions,
        arrived=system.arrived,
        expired=system.expired,
        seconds=time.perf_counter() - began,
        training_seconds=training,
        judging_seconds=judging,
        predicted=_joined(judgements, 0),
        engaged=_joined(judgements, 1),
    )


def _joined(parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]], which: int) -> NDArray[np.float32] | None:
    return np.concatenate([part[which] for part in parts]) if parts else None
