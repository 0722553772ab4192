"""Where the served path is behind another method: paired tests over a table, corrected for their number (Holm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hsnn.evaluation.metrics.method_metrics import ranks
from hsnn.evaluation.metrics.run import Run

# Cuts k of recall@k at which methods are compared.
_CUTS = (20, 50)

# Chance, at most, that anything in a table is called behind although nothing is.
LEVEL = 0.05

# Standard errors on either side of a 95% interval.
_INTERVAL = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of recall, served minus another method, on the same queries of all seeds.

    Attributes
    ----------
    stream, method, figure : what is compared
    mean, low, high : float
        Share of the queries, with its 95% interval.
    p : float
        Chance of a difference as low as this one if the served path were not behind.
    behind : bool
        Whether the served path is behind, corrected for the number of differences in the table.
    """

    stream: str
    method: str
    figure: str
    mean: float
    low: float
    high: float
    p: float
    behind: bool


def holm(p: NDArray[np.float64], level: float = LEVEL) -> NDArray[np.bool_]:
    """Decide which hypotheses with p values (n,) to reject, so that the chance of any error is at most `level` (Holm).

    The smallest p is compared with level / n, the next with level / (n - 1) and so on, until one is too large.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist()
    [True, False, False, True]
    """
    order = np.argsort(p, kind="stable")
    passed = p[order] <= level / (len(p) - np.arange(len(p)))
    rejected = np.zeros(len(p), np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


def differences(table: Mapping[str, Sequence[Run]], methods: Mapping[str, Sequence[str]]) -> list[Difference]:
    """Compare the served path with methods on several streams, as one table.

    The queries of all seeds are pooled: their samples differ, and the spread over three seeds says little.

    Parameters
    ----------
    table : stream -> one run per seed
    methods : stream -> methods to compare with
    """
    found = [
        _difference(stream, method, cut=cut, runs=runs)
        for stream, runs in table.items()
        for method in methods[stream]
        for cut in _CUTS
    ]
    rejected = holm(np.array([one[-1] for one in found])) if found else ()
    return [Difference(*one, behind=bool(behind)) for one, behind in zip(found, rejected, strict=True)]


def _difference(
    stream: str, method: str, *, cut: int, runs: Sequence[Run]
) -> tuple[str, str, str, float, float, float, float]:
    hits = np.concatenate([(run.ranks["served"] < cut).astype(np.float64) - (ranks(run, method) < cut) for run in runs])
    mean = float(hits.mean()) if len(hits) else 0.0
    error = float(hits.std(ddof=1) / np.sqrt(len(hits))) if len(hits) > 1 else 0.0
    p = float(stats.norm.cdf(mean / error)) if error else 1.0
    return stream, method, f"recall_at_{cut}", mean, mean - _INTERVAL * error, mean + _INTERVAL * error, p
