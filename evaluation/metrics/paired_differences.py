"""Differences on the same queries: between two methods of a run, or between two configurations, over seeds."""

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
    >>> found = interval([0.01, 0.02, 0.03])
    >>> round(found.mean, 4), round(found.low, 4), round(found.high, 4)
    (0.02, -0.0048, 0.0448)
    >>> found.verdict(-0.01), found.verdict(0.0), found.verdict(0.05)
    ('met', 'unresolved', 'missed')
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]

    def verdict(self, goal: float) -> Verdict:
        """Say whether a goal is met: even the near end of the interval meets it; missed: not even the far end does."""
        if self.low >= goal:
            return "met"
        return "missed" if self.high < goal else "unresolved"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Summarise one value per seed."""
    each = np.array(values, np.float64)
    mean = float(each.mean()) if len(each) else float("nan")
    if len(each) < 2:
        return Interval(mean, float("nan"), float("nan"), tuple(each.tolist()))
    half = float(stats.t.ppf((1 + level) / 2, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each)))
    return Interval(mean, mean - half, mean + half, tuple(each.tolist()))


def compare(ours: Sequence[Run], theirs: Sequence[Run], figure: str, method: str, rival: str) -> Interval:
    """Difference of a figure, `method` in `ours` minus `rival` in `theirs`, seed by seed on the same queries.

    `ours` and `theirs` hold one run per seed, in the same order; they are the same runs to compare two methods of one
    configuration.

    Raises
    ------
    ProtocolError
        The runs do not hold the same queries.
    """
    if len(ours) != len(theirs):
        raise ProtocolError(f"{len(ours)} seeds cannot be paired with {len(theirs)}")
    for one, other in zip(ours, theirs, strict=True):
        same_queries(one, other)
    pairs = zip(ours, theirs, strict=True)
    return interval([figures(one, method)[figure] - figures(other, rival)[figure] for one, other in pairs])


def compare_columns(ours: Sequence[Run], theirs: Sequence[Run], column: str, rival: str, cut: int) -> Interval:
    """Difference of recall at a cut, rank column `column` in `ours` minus `rival` in `theirs`; as `compare`."""
    pairs = list(zip(ours, theirs, strict=True))
    for one, other in pairs:
        same_queries(one, other)
    return interval([recall(one.ranks[column], cut) - recall(other.ranks[rival], cut) for one, other in pairs])


def same_queries(one: Run, other: Run) -> None:
    """Make sure that two runs asked the same events.

    Raises
    ------
    ProtocolError
        They did not: another seed, share, window or data set.
    """
    if one is other or (np.array_equal(one.event, other.event) and np.array_equal(one.ts, other.ts)):
        return
    raise ProtocolError(
        f"the runs asked different events ({len(one.event):,} and {len(other.event):,}), so they cannot be paired: "
        "use the same data, seed, query_share and window, and a window that begins after both have an index"
    )
