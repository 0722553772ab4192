"""Reasons of the model: the parts of a score, the nodes on an item's path, and what of the history speaks for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.schema import Reason, RetrievalMode
from hsnn.serving.search.modes import SearchContext
from hsnn.trainer.features.pair_facts import pair_facts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.messages import COVISIT_HALF_LIVES
from hsnn.trainer.rowstore.arrays import gather_rows

# Items of the history that are named per returned item: those that add most.
_MOST_NAMED = 3

# Names of the half-lives of co-visitation.
_LIFTS = ("session", "month")
assert len(_LIFTS) == len(COVISIT_HALF_LIVES)

# Part of a score that is rounding error, logits.
_NOISE = 1e-3

# Decimals of numbers in explanations: a reader has no use for more.
_DECIMALS = 4


def reasons_of_model(
    context: SearchContext,
    number: int,
    mode: RetrievalMode,
    rows: NDArray[np.int64],
    scores: NDArray[np.floating],
) -> list[Reason]:
    """Give the reasons of the returned `rows` (n,) with `scores` (n,) of the request `number`."""
    if context.encoded is None or mode in (RetrievalMode.POPULARITY, RetrievalMode.COVISITATION, RetrievalMode.LATEST):
        return [Reason(source=mode.value) for _ in rows]
    order = np.argsort(rows)
    model = _ModelReasons(context, number, rows[order], scores[order])
    reasons = [model.reason(place) for place in range(len(rows))]
    return [reasons[place] for place in np.argsort(order).tolist()]


def unreached_by_model(context: SearchContext, number: int, mode: RetrievalMode, row: int) -> tuple[str, str]:
    """Say at which stage an allowed row fell out that was not scored."""
    if mode is RetrievalMode.POPULARITY_FILTER or context.encoded is None:
        return "not_scored", f"it is not among the {context.budget} most popular items"
    leaves, node = context.state.index.leaves, int(context.state.index.leaves.node_of[row])
    reached = np.where(leaves.sizes > 0, context.encoded.beam_log_probs[number], -np.inf)
    better = int(np.count_nonzero(reached > reached[node]))
    if reached[node] == -np.inf or better >= context.beam:
        place = "not reached by the beam" if reached[node] == -np.inf else f"number {better + 1} for this user"
        return "node_not_opened", f"its node {node} is {place}; {context.beam} nodes are opened"
    return "not_scored", f"other items of the opened nodes came first; {context.budget} are scored"


class _ModelReasons:
    """Reasons of `rows` (n,), ascending, with `scores` (n,)."""

    def __init__(
        self,
        context: SearchContext,
        number: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.floating],
    ) -> None:
        self._context, self._number, self._rows, self._scores = context, number, rows, scores
        self._state, self._index = context.state, context.state.index
        self._leaves = gather_rows(self._index.leaves.node_of, rows)
        self._pairs = np.zeros(len(rows), np.float32)
        if context.pairs is not None:
            self._pairs = context.pairs[number].added_to(self._pairs, rows)
        self._boosts = context.conditions.boosted(np.zeros(len(rows), np.float32), rows)
        self._query = context.queries.select(slice(number, number + 1))
        self._memory = self._remembered()
        self._parts = self._score_parts()
        self._paths, self._path_log_probs = self._node_paths()
        self._losses = self._losses_without_each()
        self._facts = self._pair_facts()

    def reason(self, place: int) -> Reason:
        """Return the reason of the row at a place."""
        row = int(self._rows[place])
        parts = {name: round(float(values[place]), _DECIMALS) for name, values in self._parts.items()}
        kept = ("item", "state", "node")
        return Reason(
            source=self._source(row),
            path=[int(node) for node in self._paths[:, place]],
            path_log_probs=[round(float(value), _DECIMALS) for value in self._path_log_probs[:, place]],
            parts={name: value for name, value in parts.items() if name in kept or abs(value) > _NOISE},
            history=self._named_history(place),
            pair=self._facts.get(row, {}),
        )

    def _source(self, row: int) -> str:
        if self._context.pairs is not None:
            pairs = self._context.pairs[self._number]
            place = int(np.searchsorted(pairs.rows, row))
            if place < len(pairs.rows) and pairs.rows[place] == row:
                return "neighbours" if pairs.near[place] else "memory"
        return "index"

    def _remembered(self) -> MemoryEntries:
        memory = self._context.memory
        return MemoryEntries.empty(1) if memory is None else memory.select(slice(self._number, self._number + 1))

    def _score_parts(self) -> dict[str, NDArray[np.floating]]:
        """Return the parts of the scores, each (n,)."""
        assert self._context.encoded is not None
        query = self._index.scorer.dot_query(self._context.encoded, self._number)
        vectors = gather_rows(self._index.vectors, self._rows)
        now = self._context.time_of(self._number)
        states = self._index.scorer.state_vectors(self._state.states.features(self._rows, now))
        parts: dict[str, NDArray[np.floating]] = {
            "item": vectors[:, : query.split] @ query.vector[: query.split] + vectors[:, -1],
            "state": states[:, :-1] @ query.vector[query.split :] + states[:, -1],
            "node": query.nodes[self._leaves],
            "pair": self._pairs,
            "boost": self._boosts,
        }
        network: NDArray[np.floating] = self._scores - np.sum(list(parts.values()), axis=0)
        return parts | {"network": network}

    def _node_paths(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nodes of each row and their log probabilities for the user, (levels, n) each."""
        assert self._context.encoded is not None
        levels = self._index.config.levels
        paths = np.stack([self._leaves // (levels[-1] // nodes) for nodes in levels]).astype(np.int64)
        log_probs = self._index.scorer.level_log_probs(
            self._context.encoded, self._number, self._index.leaves.node_log_share()
        )
        return paths, np.stack([values[nodes] for values, nodes in zip(log_probs, paths, strict=True)])

    def _losses_without_each(self) -> dict[int, NDArray[np.floating]]:
        """Return by how much the scores (n,) are lower without each item of the history."""
        held = np.unique(self._query.history_items[self._query.history_items >= 0])
        if not len(held) or not len(self._rows):
            return {}
        variants = self._query.select(np.zeros(len(held) + 1, np.int64))
        items, times = variants.history_items.copy(), variants.history_times.copy()
        for number, left_out in enumerate(held.tolist()):
            kept = np.flatnonzero(items[number] != left_out)
            gap = items.shape[1] - len(kept)
            items[number] = np.r_[np.full(gap, -1, items.dtype), items[number, kept]]
            times[number] = np.r_[np.zeros(gap, times.dtype), times[number, kept]]
        scores = self._scores_of(variants._replace(history_items=items, history_times=times))
        return {item: scores[-1] - scores[number] for number, item in enumerate(held.tolist())}

    def _scores_of(self, queries: QueryArrays) -> NDArray[np.float32]:
        """Score the rows for other queries of the same user: (B, n)."""
        state, index, scorer = self._state, self._index, self._index.scorer
        encoded = scorer.encode(queries, index.vectors, index.leaves.node_log_share(), self._context.beam)
        features = state.states.features(self._rows, self._context.time_of(self._number))
        vectors, count = gather_rows(index.vectors, self._rows), len(queries.now)
        pairs = None
        if self._context.pairs is not None:
            memory = self._memory.select(np.zeros(count, np.int64))
            facts = pair_facts(queries, memory, state.cross_features.covisitation, state.states)
            pairs = scorer.pair_logits(facts).by_query(count)
        scores = np.zeros((count, len(self._rows)), np.float32)
        for number in range(count):
            cross = state.cross_features.features(queries, number, self._rows) if index.config.cross else None
            scored = scorer.score(encoded, number, vectors, features, nodes=self._leaves, cross=cross)
            scores[number] = scored if pairs is None else pairs[number].added_to(scored, self._rows)
        return scores

    def _named_history(self, place: int) -> dict[str, float]:
        """Name the items of the history that add most to a score."""
        losses = {row: float(values[place]) for row, values in self._losses.items() if values[place] > _NOISE}
        best = sorted(losses, key=lambda row: (-losses[row], row))[:_MOST_NAMED]
        return {self._state.items.ids.ids[row]: round(losses[row], _DECIMALS) for row in best}

    def _pair_facts(self) -> dict[int, dict[str, float]]:
        """Return the facts of user and item by row, of those rows that have some."""
        found: dict[int, dict[str, float]] = {}
        if self._context.pairs is None:
            return found
        facts = pair_facts(self._query, self._memory, self._state.cross_features.covisitation, self._state.states)
        for row, lift in zip(facts.candidate.tolist(), facts.lift.tolist(), strict=True):
            found[row] = {name: round(value, _DECIMALS) for name, value in zip(_LIFTS, lift, strict=True)}
        held = np.flatnonzero(self._memory.items[0] >= 0)
        for column in held.tolist():
            entry = {"count": int(self._memory.counts[0, column]), "last": int(self._memory.times[0, column])}
            found.setdefault(int(self._memory.items[0, column]), {}).update(entry)
        return found
