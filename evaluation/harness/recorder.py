"""Writes down what methods return, query by query, and what was shown over the run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.popularity import HOURS, Leaders
from hsnn.evaluation.harness.query_batch import Field, Found
from hsnn.trainer.rowstore.arrays import grown

POPULAR = 50
"""So many items of most engagement are called popular."""


class Tally:
    """Columns that grow with every batch of queries.

    A *column* is one method at one setting: ``served``, ``popularity:1.0``, ``merge@50``.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        self._work: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        self._plain: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        self._shown: dict[str, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(1024, np.bool_))
        self._popular: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(HOURS)))
        self._alive_mask: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._queries = 0

    def begin(self, field: Field, leaders: Leaders) -> None:
        """Turn to the queries of `field`."""
        self._field, self._leaders = field, leaders
        asked = field.asked
        self._alive_mask = grown(self._alive_mask, int(field.rows.max(initial=-1)) + 1)
        self._alive_mask[field.rows] = True
        self._queries += len(field)
        corpus = np.full(len(field), len(field.rows))
        for name, column in (("event", asked.event), ("ts", asked.ts), ("age", asked.age), ("corpus", corpus)):
            self._plain[name].append(column)

    def found(self, name: str, found: Found) -> None:
        """Note one column's answers."""
        self._ranks[name].append(found.ranks)
        if found.scored is not None:
            self._work[name].append(found.scored)
        shown = self._shown[name] = grown(self._shown[name], len(self._alive_mask))
        shown[self._field.rows[found.top[found.top >= 0]]] = True
        self._popular[name] += self._leaders.among(found.top, POPULAR).sum(1)

    def all_found(self, found: Mapping[str, Found]) -> None:
        """Note several columns' answers."""
        for name, one in found.items():
            self.found(name, one)

    def curve(self, name: str, budgets: Sequence[int], ranks: NDArray[np.float64], scored: NDArray[np.int64]) -> None:
        """Note ranks and scored items (B, len(budgets)) of one order."""
        for at, budget in enumerate(dict.fromkeys(budgets)):
            self._ranks[f"{name}@{budget}"].append(ranks[:, at])
            self._work[f"{name}@{budget}"].append(scored[:, at])

    def ranks_only(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Note ranks (B,) by column."""
        for name, ranks in columns.items():
            self._ranks[name].append(ranks)

    def ranks(self) -> dict[str, NDArray[np.float32]]:
        """Ranks (queries,) by column."""
        return {name: np.concatenate(parts).astype(np.float32) for name, parts in self._ranks.items()}

    def work(self) -> dict[str, NDArray[np.int32]]:
        """Item-level evaluations (queries,) by column, for columns where they differ from query to query."""
        return {name: np.concatenate(parts).astype(np.int32) for name, parts in self._work.items()}

    def plain(self, name: str) -> NDArray[np.int64]:
        """``event``, ``ts``, ``age`` or ``corpus`` of the queries, (queries,)."""
        return np.concatenate([np.zeros(0, np.int64), *self._plain[name]])

    def coverage(self) -> dict[str, float]:
        """Share of all items that lived when something was asked that some answer's first `TOP` held, by column."""
        living = max(int(self._alive_mask.sum()), 1)
        return {name: float(shown.sum()) / living for name, shown in self._shown.items()}

    def popular(self) -> dict[str, NDArray[np.float64]]:
        """Mean share of an answer's first `TOP` that is popular, at every half-life of popularity (H,), by column."""
        return {name: total / max(self._queries, 1) for name, total in self._popular.items()}
