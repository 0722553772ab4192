"""Paired differences, on the same queries, between two methods or two configurations; intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.metrics.method_metrics import figures
from hsnn.evaluation.metrics.ranks import recall
from hsnn.evaluation.metrics.run import Run

Verdict = Literal["met", "missed", "unresolved"]


class Interval(NamedTuple):
    """Mean over seeds with its 95% interval by Student's t; one seed has no interval, its ends are NaN.

    Examples
    --------
    >>> summary = interval([0.01, 0.02, 0.03])
    >>> round(summary.mean, 4), round(summary.low, 4), round(summary.high, 4)
    (0.02, -0.0048, 0.0448)
    >>> summary.verdict(-0.01), summary.verdict(0.0), summary.verdict(0.05)
    ('met', 'unresolved', 'missed')
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]

    def verdict(self, goal: float) -> Verdict:
        """Compare with a goal: met if the whole interval meets it, missed if none of it does, unresolved otherwise."""
        if self.low >= goal:
            return "met"
        return "missed" if self.high < goal else "unresolved"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Summarise one value per seed."""
    seeds = np.array(values, np.float64)
    mean = float(seeds.mean()) if len(seeds) else float("nan")
    if len(seeds) < 2:
        return Interval(mean, float("nan"), float("nan"), tuple(seeds.tolist()))
    half = float(stats.t.ppf((1 + level) / 2, len(seeds) - 1) * seeds.std(ddof=1) / np.sqrt(len(seeds)))
    return Interval(mean, mean - half, mean + half, tuple(seeds.tolist()))


def compare(
    runs: Sequence[Run], reference_runs: Sequence[Run], *, figure: str, method: str, reference: str
) -> Interval:
    """Difference of a figure, `method` in `runs` minus `reference` in `reference_runs`, paired by seed and query.

    Both hold one run per seed, in the same order; they are the same runs to compare two methods of one configuration.

    Raises
    ------
    ProtocolError
        The runs do not hold the same queries.
    """
    if len(runs) != len(reference_runs):
        raise ProtocolError(f"{len(runs)} seeds cannot be paired with {len(reference_runs)}")
    pairs = list(zip(runs, reference_runs, strict=True))
    for run, other in pairs:
        check_same_queries(run, other)
    return interval([figures(run, method)[figure] - figures(other, reference)[figure] for run, other in pairs])


def compare_columns(
    runs: Sequence[Run], reference_runs: Sequence[Run], *, column: str, reference: str, cut: int
) -> Interval:
    """Difference of recall at a cut between columns of ranks, `column` minus `reference`; otherwise as `compare`."""
    pairs = list(zip(runs, reference_runs, strict=True))
    for run, other in pairs:
        check_same_queries(run, other)
    return interval([recall(run.ranks[column], cut) - recall(other.ranks[reference], cut) for run, other in pairs])


def check_same_queries(run: Run, other: Run) -> None:
    """Check that two runs have the same queries.

    Raises
    ------
    ProtocolError
        They differ in seed, query share, window or data set.
    """
    if run is other or (np.array_equal(run.event, other.event) and np.array_equal(run.ts, other.ts)):
        return
    raise ProtocolError(
        f"the runs asked different events ({len(run.event):,} and {len(other.event):,}), so they cannot be paired: "
        "use the same data, seed, query_share and window, and a window that begins after both have an index"
    )
