"""The hourly session protocol of Transformers4Rec (RecSys 2021): predict the last click of each session.

All known items are ranked, and a session's own clicks are all that is known of its user. Twice: *per event*, model and
baselines knowing all events before the click's batch; and *frozen for an hour*, knowing what they knew when the hour
began that the session begins in, while the clock goes on. Figures are means over the hours.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.registry import counting_baselines
from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.evaluation.harness.evaluator import Evaluator
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.metrics.hourly import HourlyRun
from hsnn.evaluation.queries.hourly_sessions import HOUR, hour_edges, session_targets
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads

MODES = ("per event", "frozen for an hour")
"""How much is known when a click is predicted."""


def evaluate_hourly(
    data: Dataset,
    config: TrainerConfig,
    batch_size: int = 512,
    *,
    hours: int = 190,
    targets: int | None = None,
    snapshot_every: float = 600.0,
    snapshot_events: int = 2048,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, HourlyRun]:
    """Evaluate the served path and the counting baselines by the hour; return the results of both `MODES`.

    Parameters
    ----------
    hours
        Number of hours predicted, after the first.
    targets
        Size of the sample of sessions; None: all.
    snapshot_every, snapshot_events, report : as in `hsnn.evaluation.harness.prequential.evaluate`

    Raises
    ------
    ProtocolError
        No session of two clicks begins in these hours.
    """
    use_threads(config.threads)
    asked = session_targets(data, hours)
    if not len(asked):
        raise ProtocolError(f"no session of two clicks begins in hours 1 to {hours} of {data.name}")
    if targets is not None and targets < len(asked):
        rng = np.random.default_rng([config.seed, 5])
        asked = asked.select(np.sort(rng.choice(len(asked), targets, replace=False)))
    system = OfflineSystem(config, snapshot_every, snapshot_events)
    evaluator = Evaluator(config, counting_baselines(), served_only=True)
    sampler = QuerySampler(QueryWindow(0.0, 0, len(data.engagements)), config.seed)  # for the histories alone
    recorders = {mode: Recorder() for mode in MODES}
    hour_of: dict[str, list[NDArray[np.int64]]] = {mode: [] for mode in MODES}
    times = np.maximum.accumulate(data.engagements.ts)
    end, start, entered = int(asked.event[-1]) + 1, 0, 0
    edges: list[int] = hour_edges(data).tolist()
    for batch in data.batches(batch_size, join_config(config), edges):
        if start >= end:
            break
        edge = bisect_right(edges, start)
        size = min([start + batch_size, len(times), *edges[edge : edge + 1]]) - start
        hour = int((times[start] - times[0]) // HOUR)
        # Before the batch is prepared, which makes its items and users known.
        frozen = asked.select(np.flatnonzero((asked.hour > entered) & (asked.hour <= hour)))
        entered = hour
        if len(frozen):
            queries = frozen.queries(data, system.learner, k=evaluator.k, own=False)
            evaluator.evaluate(system, queries, recorders[MODES[1]])
            hour_of[MODES[1]].append(frozen.hour)
        prepared = system.prepare(batch)
        evaluator.prepare(batch)
        now = asked.select(np.flatnonzero((asked.event >= start) & (asked.event < start + size)))
        if len(now):
            queries = now.queries(data, system.learner, k=evaluator.k, own=True)
            evaluator.evaluate(system, queries, recorders[MODES[0]])
            hour_of[MODES[0]].append(now.hour)
        _, history = sampler.sample(prepared, system.learner, evaluator.k)
        evaluator.learn(prepared, history, system, system.learn(prepared))
        start += size
        if report is not None:
            report(start, end)
    columns = {"served": ("served",)} | {baseline.name: baseline.columns for baseline in evaluator.baselines}
    return {
        mode: HourlyRun(recorder.ranks(), np.concatenate(hour_of[mode]), columns, recorder.query_values("event"))
        for mode, recorder in recorders.items()
    }
