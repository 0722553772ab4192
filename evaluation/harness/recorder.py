"""Recording of the methods' results, query by query, and of the items that were shown over the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.popularity_counts import PopularityRanking
from hsnn.evaluation.methods import POPULAR_ITEMS, POPULARITY_HALF_LIVES
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.trainer.rowstore.arrays import grown


class Recorder:
    """Columns that grow with every batch of queries.

    A *column* is one method at one setting: ``served``, ``popularity:1.0``, ``merge@50``. A column without a result for
    a batch missed its queries and cost nothing.
    """

    def __init__(self) -> None:
        self._ranks = _Columns(MISS)
        self._work, self._dots = _Columns(0), _Columns(0)
        self._query_values: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        self._shown: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(1024, np.bool_))
        self._popular: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(POPULARITY_HALF_LIVES)))
        self._retrievable: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._query_count = 0

    def begin(self, queries: QueryBatch, ranking: PopularityRanking) -> None:
        """Begin a batch; the results that are recorded next are for its queries."""
        self._queries, self._ranking, self._excluded = queries, ranking, queries.excludes_target
        self._start = self._query_count
        sampled = queries.sampled
        self._retrievable = grown(self._retrievable, int(queries.rows.max(initial=-1)) + 1)
        self._retrievable[queries.rows] = True
        self._query_count += len(queries)
        corpus = np.full(len(queries), len(queries.rows))
        for name, values in (("event", sampled.event), ("ts", sampled.ts), ("age", sampled.age), ("corpus", corpus)):
            self._query_values[name].append(values)

    def record(self, column: str, result: MethodResult) -> None:
        """Record one column's result for the batch."""
        self._ranks.add(column, self._start, np.where(self._excluded, MISS, result.ranks))
        if result.scored is not None:
            self._work.add(column, self._start, result.scored)
        if result.dots is not None:
            self._dots.add(column, self._start, result.dots)
        if result.top is not None:
            shown = self._shown[column] = grown(self._shown[column], len(self._retrievable))
            shown[self._queries.rows[result.top[result.top >= 0]]] = True
            self._popular[column] += self._ranking.share_popular(result.top, POPULAR_ITEMS).sum(1)

    def record_all(self, results: Mapping[str, MethodResult]) -> None:
        """Record the results of several columns."""
        for column, result in results.items():
            self.record(column, result)

    def ranks(self) -> dict[str, NDArray[np.float32]]:
        """Ranks (queries,) by column."""
        return {name: values.astype(np.float32) for name, values in self._ranks.joined(self._query_count)}

    def work(self) -> dict[str, NDArray[np.int32]]:
        """Items scored (queries,) by column, for columns where they differ from query to query."""
        return {name: values.astype(np.int32) for name, values in self._work.joined(self._query_count)}

    def dots(self) -> dict[str, NDArray[np.int32]]:
        """Dot products computed (queries,) by column, for methods that have some."""
        return {name: values.astype(np.int32) for name, values in self._dots.joined(self._query_count)}

    def query_values(self, name: str) -> NDArray[np.int64]:
        """``event``, ``ts``, ``age`` or ``corpus`` of the queries, (queries,)."""
        return np.concatenate([np.zeros(0, np.int64), *self._query_values[name]])

    def coverage(self) -> dict[str, float]:
        """Share of the items retrievable at some query that were in the first `TOP_K` of some answer, by column."""
        retrievable = max(int(self._retrievable.sum()), 1)
        return {name: float(shown.sum()) / retrievable for name, shown in self._shown.items()}

    def popular(self) -> dict[str, NDArray[np.float64]]:
        """Mean share of popular items among an answer's first `TOP_K`, per half-life of popularity (H,), by column."""
        return {name: total / max(self._query_count, 1) for name, total in self._popular.items()}


class _Columns:
    """Values by column, added in pieces; `fill` where a column has no piece."""

    def __init__(self, fill: float) -> None:
        self._fill = fill
        self._pieces: dict[str, list[tuple[int, NDArray[np.number]]]] = defaultdict(list)

    def add(self, column: str, start: int, values: NDArray[np.number]) -> None:
        self._pieces[column].append((start, values))

    def joined(self, length: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
        for column, pieces in self._pieces.items():
            values = np.full(length, self._fill, np.float64)
            for start, piece in pieces:
                values[start : start + len(piece)] = piece
            yield column, values
