"""The figures of the last day: one compact row every few seconds and server, in a Redis stream of bounded length."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

INTERVAL = 10.0
"""Seconds between two rows: a day has 8,640 of them, some 2 MB in Redis for each server."""

SPAN = 86_400.0
"""Seconds that rows are kept: the last day."""

# Figures that each server has of its own; a chart shows their sum over the servers.
_SUMMED = ("requests_per_second", "errors_per_second")

# Figures of the slowest server.
_LARGEST = ("p50_ms", "p99_ms", "freshness_p50", "freshness_p99", "arrived", "left")


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """The figures of one server and one interval; None where nothing was measured.

    Attributes
    ----------
    server
        The process that measured.
    events_per_second
        Engagements learned per second.
    lag_records, lag_seconds
        Records not learned yet; age of the oldest of them.
    dropped, dead_lettered
        Engagements per second that were dropped, or became dead letters.
    loss
        Of new batches before training, nats.
    requests_per_second, errors_per_second
        Retrieval calls answered; those with a status of 500 or more.
    p50_ms, p99_ms
        Duration of the calls, quantiles 0.5 and 0.99.
    freshness_p50, freshness_p99
        Seconds from the sending of an item until it is retrievable.
    arrived, left
        Items that entered the index, and left it, per second.
    items, version
        Retrievable items; version of the index in use.
    recall
        Recall at 20 of the last queries by method.
    pending
        Impressions that wait for the label of their last item.
    labelled, late_actions
        Shown items that got their labels, and actions that came after them, per second.
    duplicates
        Engagements per second that had been seen before.
    """

    server: str
    events_per_second: float | None = None
    lag_records: int | None = None
    lag_seconds: float | None = None
    dropped: float | None = None
    dead_lettered: float | None = None
    loss: float | None = None
    requests_per_second: float | None = None
    errors_per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    freshness_p50: float | None = None
    freshness_p99: float | None = None
    arrived: float | None = None
    left: float | None = None
    items: int | None = None
    version: int | None = None
    recall: dict[str, float] = {}
    # Rows are arrays: a new field is the last one, so that rows of the release before are still read.
    pending: int | None = None
    labelled: float | None = None
    late_actions: float | None = None
    duplicates: float | None = None


class FigureHistory:
    """Append and read rows; those older than `SPAN` are removed with each append.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def append(self, sample: Sample, at: int) -> None:
        """Append a row, measured at `at`, epoch ms."""
        oldest = max(at - round(1000 * SPAN), 0)
        self._redis.xadd(self._key, {"d": msgspec.msgpack.encode(sample)}, minid=str(oldest), approximate=True)

    def read(self, since: int) -> list[tuple[int, Sample]]:
        """Return the rows since `since`, epoch ms, with their times, oldest first; unreadable ones are left out."""
        entries: Any = self._redis.xrange(self._key, min=str(since))
        rows = []
        for entry_id, fields in entries:
            try:
                row = msgspec.msgpack.decode(fields[b"d"], type=Sample)
            except (KeyError, msgspec.MsgspecError):
                continue  # of another release
            rows.append((int(entry_id.partition(b"-")[0]), row))
        return rows

    @property
    def _key(self) -> str:
        return key("console", "history")


def as_series(rows: list[tuple[int, Sample]], points: int) -> dict[str, Any]:
    """Condense rows to at most `points` points per figure, for a chart.

    Returns
    -------
    dict
        ``t`` are epoch ms; ``recall`` has a series per method; the others are named as in `Sample`.

    Examples
    --------
    >>> rows = [(at, Sample("a", lag_records=at // 1000, requests_per_second=2.0)) for at in range(0, 40_000, 10_000)]
    >>> series = as_series([*rows, (0, Sample("b", requests_per_second=5.0))], points=2)
    >>> series["t"], series["lag_records"], series["requests_per_second"]
    ([10000, 30000], [5.0, 25.0], [4.5, 2.0])
    """
    if not rows:
        return {"t": [], "recall": {}}
    rows = sorted(rows, key=lambda row: row[0])
    times = np.array([at for at, _ in rows], np.int64)  # (n,)
    slots = (times // round(1000 * INTERVAL)).astype(np.int64)
    per_point = -(-int(slots[-1] - slots[0] + 1) // points)  # slots of one point, rounded up
    point = (slots - slots[0]) // per_point  # (n,)
    present, point = np.unique(point, return_inverse=True)
    last = np.zeros(len(present), np.int64)
    np.maximum.at(last, point, times)
    names = [name for name in Sample.__struct_fields__ if name not in ("server", "recall")]
    series: dict[str, Any] = {"t": last.tolist()}
    for name in names:
        values = np.array([_number(getattr(row, name)) for _, row in rows])
        series[name] = _condensed(values, point, slots, name)
    methods = sorted({method for _, row in rows for method in row.recall})
    series["recall"] = {
        method: _condensed(np.array([row.recall.get(method, np.nan) for _, row in rows]), point, slots, "recall")
        for method in methods
    }
    return series


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _condensed(
    values: NDArray[np.float64], point: NDArray[np.int64], slots: NDArray[np.int64], name: str
) -> list[float | None]:
    """Combine the values (n,) of each point: their sum per slot, their maximum, or their mean."""
    known = ~np.isnan(values)
    count = int(point.max()) + 1
    if name in _LARGEST:
        largest = np.full(count, -np.inf)
        np.maximum.at(largest, point[known], values[known])
        return [None if np.isinf(value) else value for value in largest.tolist()]
    divisor = np.bincount(point[known], minlength=count)
    if name in _SUMMED:
        pairs = np.unique(np.stack([point[known], slots[known]]), axis=1)
        divisor = np.bincount(pairs[0], minlength=count)
    sums = np.bincount(point[known], values[known], minlength=count)
    return [None if not n else total / n for total, n in zip(sums.tolist(), divisor.tolist(), strict=True)]
