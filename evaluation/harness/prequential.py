"""Prequential evaluation (test, then train): queries are answered before their events are learned.

The stream is read in time order without leakage: an item exists from its first event on, and the queries of a batch are
answered before any of it is learned or counted. Events that repeat one of the user's last items are not sampled; a
target that is not indexed at the time of the query is a miss for every method. The settings of the baselines are chosen
on queries before the window, so that no method knows more of the future than another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.registry import counting_baselines, default_baselines, ordered_baselines
from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.evaluation.harness.evaluator import Evaluator
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.metrics.assignment_churn import AssignmentChurn
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads

__all__ = ["Run", "evaluate"]

# Queries before the window on which the settings of the baselines are chosen, about: their recall is then known to a
# point, and they cost less than a tenth of a run.
TRIAL_QUERIES = 2000

ProgressCallback = Callable[[int, int], None]
"""Called with the number of events learned and the number of all events."""


def evaluate(
    data: Dataset,
    config: TrainerConfig,
    batch_size: int = 512,
    *,
    query_share: float = 0.05,
    query_from: float = 0.5,
    query_to: float = 1.0,
    baselines: Sequence[str] | None = None,
    snapshot_every: float = 600.0,
    snapshot_events: int = 2048,
    report: ProgressCallback | None = None,
) -> Run:
    """Evaluate all methods in one pass over a data set.

    Parameters
    ----------
    data
        Its events in time order.
    config
        Of the trainer; without limits of `trainer.ids`.
    batch_size
        Events of a step, at most.
    query_share
        Share of the events that become queries.
    query_from, query_to
        Window of the queries: shares of the stream up to 1, numbers of events above. The pass ends with the window.
    baselines
        Methods to compare with, of `hsnn.evaluation.baselines.registry.declarations`; None: the cheap ones.
    snapshot_every, snapshot_events
        A version is published after so many stream seconds, but not before so many events.
    report
        Called with the number of events learned, and of the one at which the pass ends.

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
            "trainer.ids limits the id tables, so rows are recycled, and the baselines count by row; "
            "judge the model without trainer.ids"
        )
    window = QueryWindow.from_edges(len(data.engagements), query_share, query_from, query_to)
    sampler = QuerySampler(window, config.seed, TRIAL_QUERIES)
    recorder, churn = Recorder(), AssignmentChurn()
    system = OfflineSystem(config, snapshot_every, snapshot_events)
    names = default_baselines() if baselines is None else ordered_baselines(baselines)
    evaluator = Evaluator(config, names)
    times = data.engagements.ts
    began, training, evaluating = time.perf_counter(), 0.0, 0.0
    predictions: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for number, batch in enumerate(data.batches(batch_size, join_config(config))):
        if system.learner.events >= window.stop:
            break
        start = time.perf_counter()
        prepared = system.prepare(batch)
        training += time.perf_counter() - start
        evaluator.prepare(batch)
        start = time.perf_counter()
        sampled, history = sampler.sample(prepared, system.learner, evaluator.k)
        measured = int(np.searchsorted(sampled.event, window.start))
        evaluator.try_settings(system, sampled.select(slice(0, measured)))
        evaluator.evaluate(system, sampled.select(slice(measured, None)), recorder)
        if system.learner.events + prepared.events >= window.start:
            evaluator.freeze(system, batch.watermark, int(times[min((number + 1) * batch_size, len(times) - 1)]))
        evaluating += time.perf_counter() - start
        churn.before_version(system.mirror)
        start = time.perf_counter()
        learned = system.learn(prepared)
        training += time.perf_counter() - start
        if prepared.judged is not None and learned.report.chances is not None and system.learner.events > window.start:
            predictions.append((learned.report.chances[:, 0], prepared.judged.labels[:, 0]))
        if learned.new_version:
            churn.after_version(system.mirror, system.learner.events)
        evaluator.learn(prepared, history, system, learned)
        if report is not None:
            report(system.learner.events, window.stop)
    item_churn, traffic_churn = churn.per_100k()
    return Run(
        ranks=recorder.ranks(),
        work=recorder.work(),
        dots=recorder.dots(),
        event=recorder.query_values("event"),
        ts=recorder.query_values("ts"),
        age=recorder.query_values("age"),
        corpus=recorder.query_values("corpus"),
        coverage=recorder.coverage(),
        popular=recorder.popular(),
        sizes=system.sizes(),
        churn=item_churn,
        traffic_churn=traffic_churn,
        baselines=names,
        counting=tuple(name for name in counting_baselines() if name in names),
        chosen=evaluator.chosen,
        costs=dict(evaluator.seconds),
        budget=config.model.budget,
        events=system.learner.events,
        versions=system.versions,
        arrived=system.arrived,
        expired=system.expired,
        seconds=time.perf_counter() - began,
        training_seconds=training,
        judging_seconds=evaluating,
        predicted=_concatenated(predictions, 0),
        engaged=_concatenated(predictions, 1),
    )


def _concatenated(
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]], which: int
) -> NDArray[np.float32] | None:
    return np.concatenate([part[which] for part in parts]) if parts else None
