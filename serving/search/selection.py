"""Selection of an answer from what a search ranks: caps per attribute, a share for new items, sampling.

A search returns the best of what is allowed. They are taken in order, unless a cap is reached. Where too few are left,
the search is repeated without what it returned and without the values whose caps are reached, so the answer is the one
that a walk over the complete ranking would give. The share for new items is a cap on all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.filter_schema import NODE
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.feature_values import AnyOf, Value
from hsnn.serving.schema import Query
from hsnn.serving.search.condition_masks import check_name
from hsnn.serving.search.conditions import ItemConditions
from hsnn.serving.search.topk import SearchResult
from hsnn.trainer.features.item_counters import HOUR

# Searches per answer, at most; each one yields whole budgets of items, so that more are needed for tiny ones only.
_MOST_SEARCHES = 16

Search = Callable[[ItemConditions, int], SearchResult]
"""Finds the best k of the rows that pass conditions."""


class Draw(NamedTuple):
    """How items are drawn instead of taken by rank.

    Attributes
    ----------
    temperature : float
    pool : int or None
        Best items to draw from; None for all that are scored.
    generator : Generator
    logits : function
        Makes logits of scores.
    """

    temperature: float
    pool: int | None
    generator: np.random.Generator
    logits: Callable[[NDArray[np.floating]], NDArray[np.floating]]


class Selected(NamedTuple):
    """The items of an answer.

    Attributes
    ----------
    result : SearchResult
        The chosen rows with their scores, and the work of all searches.
    propensities : (<= k,) float64 or None
        Probability of each draw given those before it; None if nothing was drawn.
    """

    result: SearchResult
    propensities: NDArray[np.float64] | None = None


class _Cap(Protocol):
    """A limit on how many chosen items have a value in common."""

    most: int

    def values(self, row: int) -> tuple[Hashable, ...]:
        """Return the values of a row; a row without any has no limit."""

    def mask(self, value: Hashable, rows: int) -> NDArray[np.bool_]:
        """Return which of the first `rows` rows have a value."""


class _FeatureCap:
    def __init__(self, state: EpochState, name: str, most: int) -> None:
        check_name(state, name, (NODE,), what="cap")
        self._index, self._name, self.most = state.items.features, name, most

    def values(self, row: int) -> tuple[Hashable, ...]:
        return tuple(self._index.values(row, self._name))

    def mask(self, value: Hashable, rows: int) -> NDArray[np.bool_]:
        assert isinstance(value, Value)
        return self._index.predicate_mask(self._name, AnyOf(frozenset([value])), rows)


class _NodeCap:
    def __init__(self, state: EpochState, most: int) -> None:
        self._node_of, self.most = state.index.leaves.node_of, most

    def values(self, row: int) -> tuple[Hashable, ...]:
        return (int(self._node_of[row]),)

    def mask(self, value: Hashable, rows: int) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = self._node_of[:rows] == value
        return same


class _OldCap:
    """The limit on items that are not new."""

    def __init__(self, state: EpochState, since: float, most: int) -> None:
        self._first, self._since, self.most = state.states.first, since, most

    def values(self, row: int) -> tuple[Hashable, ...]:
        return () if self._first[row] >= self._since else ("old",)

    def mask(self, value: Hashable, rows: int) -> NDArray[np.bool_]:  # noqa: ARG002 - there is one value
        return self._first[:rows] < self._since


class Selector:
    """Selects the items of one request.

    Parameters
    ----------
    state
    request
        Its caps, and its share for new items.
    k
        Items of the answer.
    now
        Time of the request, epoch ms.
    draw
        How items are drawn; None: they are taken by rank.

    Raises
    ------
    RequestError
        A cap names a feature that no item has.
    """

    def __init__(self, state: EpochState, request: Query, k: int, *, now: int, draw: Draw | None = None) -> None:
        self._k, self._draw, self._row_count = k, draw, len(state.items.ids)
        self._caps: list[_Cap] = [
            _NodeCap(state, cap.most) if cap.field == NODE else _FeatureCap(state, cap.field, cap.most)
            for cap in request.caps
        ]
        self._old: _Cap | None = None
        if request.new_items is not None:
            share, since = request.new_items.share, now - request.new_items.max_age_hours * HOUR
            self._old = _OldCap(state, since, k - int(np.ceil(share * k - 1e-9)))
        self._counts: list[Counter[Hashable]] = []
        self._rows: list[int] = []
        self._scores: list[float] = []
        self._propensities: list[float] = []
        self._searches: list[SearchResult] = []

    def select(self, search: Search, conditions: ItemConditions, budget: int) -> Selected:
        """Select from the rows that pass `conditions`; `budget` is the number of items that a search scores."""
        caps = [*self._caps, self._old] if self._old is not None else self._caps
        if not caps and self._draw is None:
            return Selected(search(conditions, self._k))
        pool = max(self._k, budget)
        self._counts = [Counter() for _ in caps]
        self._fill(search, conditions, caps, pool)
        if self._old is not None and len(self._rows) < self._k:  # too few are new: others take their places
            self._fill(search, conditions.keep(self._open_rows(self._rows, self._caps)), self._caps, pool)
        return self._selected()

    def _fill(self, search: Search, conditions: ItemConditions, caps: list[_Cap], pool: int) -> None:
        for _ in range(_MOST_SEARCHES):
            if len(self._rows) == self._k:
                return
            result = search(conditions, pool)
            self._searches.append(result)
            self._walk(result, caps)
            if not len(result.rows) or (result.certified and len(result.rows) < pool):
                return
            conditions = conditions.keep(self._open_rows(result.rows.tolist(), caps))

    def _walk(self, result: SearchResult, caps: list[_Cap]) -> None:
        """Take the items of a search in their order, or draw them, as long as the caps allow."""
        rows, scores, draw = result.rows, result.scores, self._draw
        if draw is None:
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
                if len(self._rows) < self._k and not self._is_capped(row, caps):
                    self._take(row, score, caps)
            return
        count = len(rows) if draw.pool is None else min(draw.pool, len(rows))
        logits = np.asarray(draw.logits(scores[:count]), np.float64) / draw.temperature
        # The largest of logits with Gumbel noise is a draw from their softmax, also among those that are left later on.
        keys = logits + draw.generator.gumbel(size=count)
        open_ = np.array([not self._is_capped(row, caps) for row in rows[:count].tolist()], np.bool_)
        while len(self._rows) < self._k and open_.any():
            places = np.flatnonzero(open_)
            place = int(places[np.argmax(keys[places])])
            odds = np.exp(logits[places] - logits[places].max())
            self._propensities.append(float(np.exp(logits[place] - logits[places].max()) / odds.sum()))
            reached = self._take(int(rows[place]), float(scores[place]), caps)
            open_[place] = False
            if reached:
                for other in np.flatnonzero(open_).tolist():
                    open_[other] = not self._is_capped(int(rows[other]), caps)

    def _take(self, row: int, score: float, caps: list[_Cap]) -> bool:
        """Take an item; True if a cap is reached by it."""
        self._rows.append(row)
        self._scores.append(score)
        reached = False
        for cap, counts in zip(caps, self._counts, strict=False):
            counts.update(cap.values(row))
            reached |= any(counts[value] >= cap.most for value in cap.values(row))
        return reached

    def _is_capped(self, row: int, caps: list[_Cap]) -> bool:
        return any(
            counts[value] >= cap.most
            for cap, counts in zip(caps, self._counts, strict=False)
            for value in cap.values(row)
        )

    def _open_rows(self, done: list[int], caps: list[_Cap]) -> NDArray[np.bool_]:
        """Return which rows (rows,) are not among those that are done, and have no value whose cap is reached."""
        left = np.ones(self._row_count, np.bool_)
        left[done] = False
        for cap, counts in zip(caps, self._counts, strict=False):
            for value, count in counts.items():
                if count >= cap.most:
                    rows = cap.mask(value, len(left))
                    left[: len(rows)] &= ~rows
        return left

    def _selected(self) -> Selected:
        searches = self._searches or [
            SearchResult(
                rows=np.zeros(0, np.int64),
                scores=np.zeros(0, np.float32),
                scored=0,
                candidates=0,
                nodes=0,
                certified=True,
            )
        ]
        rows, scores = np.array(self._rows, np.int64), np.array(self._scores)
        propensities = None
        if self._draw is not None:
            propensities = np.array(self._propensities)
        else:
            order = np.lexsort((rows, -scores))  # those that were taken in place of missing new ones came last
            rows, scores = rows[order], scores[order]
        sources: Counter[str] = Counter()
        for search in searches:
            sources.update(search.sources)
        result = SearchResult(
            rows,
            scores,
            scored=sum(search.scored for search in searches),
            candidates=max(search.candidates for search in searches),
            nodes=max(search.nodes for search in searches),
            certified=all(search.certified for search in searches) and self._draw is None,
            dots=sum(search.dots for search in searches),
            sources=sources,
        )
        return Selected(result, propensities)
