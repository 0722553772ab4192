"""Rates and quantiles over an interval, from metrics that only count up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric

from hsnn.serving.metrics import ServingMetrics

RETRIEVALS = ("retrieve", "retrieve_many")
"""Endpoints whose calls count as requests; the console's own calls do not."""

# Status from which on a call has failed because of the server.
_SERVER_ERROR = 500


class Counts(NamedTuple):
    """Counts at one moment.

    Attributes
    ----------
    at : monotonic seconds
    calls : (buckets,) retrieval calls by duration
    fresh : (buckets,) new items by freshness
    requests, errors : retrieval calls, and those that failed inside of the server
    arrived, left : items that entered and left the index
    """

    at: float
    calls: NDArray[np.float64]
    fresh: NDArray[np.float64]
    requests: float
    errors: float
    arrived: float
    left: float


class Rates(NamedTuple):
    """What happened between two moments; None where nothing did, or where they are the same."""

    requests_per_second: float | None
    errors_per_second: float | None
    p50_ms: float | None
    p99_ms: float | None
    freshness_p50: float | None
    freshness_p99: float | None
    arrived: float | None
    left: float | None


class RequestMeter:
    """Read the metrics of a server: calls of all its workers; what concerns the mirror, which each has, of this one.

    Parameters
    ----------
    metrics
        Of this process.
    """

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def counts(self, at: float) -> Counts:
        """Read the counts now, at monotonic time `at`."""
        metrics = self._metrics
        calls = [
            (float(labels["status"]), value)
            for labels, value in _values(metrics.counted(metrics.requests))
            if labels["endpoint"] in RETRIEVALS
        ]
        deltas = {labels["kind"]: value for labels, value in _values(metrics.deltas.collect())}
        return Counts(
            at=at,
            calls=_buckets(metrics.counted(metrics.request_seconds), RETRIEVALS)[1],
            fresh=_buckets(metrics.freshness.collect())[1],
            requests=sum(value for _, value in calls),
            errors=sum(value for status, value in calls if status >= _SERVER_ERROR),
            arrived=deltas.get("insert", 0.0),
            left=deltas.get("delete", 0.0),
        )

    def rates(self, before: Counts, after: Counts) -> Rates:
        """Compute rates and quantiles of what happened between two readings."""
        seconds = after.at - before.at
        if seconds <= 0:
            return Rates(*(None,) * len(Rates._fields))
        bounds = _buckets(self._metrics.counted(self._metrics.request_seconds), RETRIEVALS)[0]
        fresh_bounds = _buckets(self._metrics.freshness.collect())[0]
        calls, fresh = _difference(before.calls, after.calls), _difference(before.fresh, after.fresh)
        p50, p99 = (quantile(bounds, calls, q) for q in (0.5, 0.99))
        return Rates(
            requests_per_second=(after.requests - before.requests) / seconds,
            errors_per_second=(after.errors - before.errors) / seconds,
            p50_ms=None if p50 is None else 1000 * p50,
            p99_ms=None if p99 is None else 1000 * p99,
            freshness_p50=quantile(fresh_bounds, fresh, 0.5),
            freshness_p99=quantile(fresh_bounds, fresh, 0.99),
            arrived=(after.arrived - before.arrived) / seconds,
            left=(after.left - before.left) / seconds,
        )


def quantile(bounds: NDArray[np.float64], counts: NDArray[np.float64], q: float) -> float | None:
    """Estimate a quantile of observations counted in buckets, linear within a bucket; None without observations.

    Parameters
    ----------
    bounds
        Upper bounds (buckets,), ascending, the last one infinite.
    counts
        Observations of each bucket alone (buckets,).

    Examples
    --------
    >>> quantile(np.array([1.0, 2.0, np.inf]), np.array([2.0, 2.0, 0.0]), 0.75)
    1.5
    """
    total = float(counts.sum())
    if total <= 0:
        return None
    wanted, reached = q * total, np.cumsum(counts)
    index = min(int(np.searchsorted(reached, wanted)), len(bounds) - 1)
    low, below = (float(bounds[index - 1]), float(reached[index - 1])) if index else (0.0, 0.0)
    if np.isinf(bounds[index]):
        return low
    return low + (float(bounds[index]) - low) * (wanted - below) / float(counts[index])


def _values(families: Iterable[Metric]) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name.endswith("_total")
    ]


def _buckets(
    families: Iterable[Metric], endpoints: tuple[str, ...] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return upper bounds and the observations of each bucket alone, (buckets,) both, summed over `endpoints`."""
    at_most: dict[float, float] = {}
    for family in families:
        for sample in family.samples:
            if sample.name.endswith("_bucket") and (not endpoints or sample.labels["endpoint"] in endpoints):
                bound = float(sample.labels["le"])
                at_most[bound] = at_most.get(bound, 0.0) + sample.value
    bounds = np.array(sorted(at_most))
    return bounds, np.diff([at_most[bound] for bound in bounds.tolist()], prepend=0.0)


def _difference(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract counts; a metric has no buckets before its first observation."""
    return after - before if len(before) == len(after) else after
