"""Approximate nearest-neighbour indexes over a two-tower model's vectors: HNSW (hnswlib) and inverted lists (faiss).

Each is built when a version is published, from the vectors as they are then, state vector and bias included; items that
arrive later are appended. The candidates are scored again with current states, within the budget of the served path.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, BaselineContext, BaselineDeclaration, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.two_tower import TwoTowerBaseline, user_side
from hsnn.evaluation.metrics.ranks import ranks_within
from hsnn.evaluation.optional_packages import import_optional
from hsnn.evaluation.queries.query_batch import MethodResult, top_of_order
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.trainer.config.model import ModelConfig

# Links per element of the HNSW graph, and candidates looked at when one is inserted: a common choice for high recall.
_HNSW_LINKS, _HNSW_BUILD_EF = 16, 100

# Items per inverted list, at least: with fewer, k-means of a small catalogue makes empty lists.
_MIN_ITEMS_PER_LIST = 4


class AnnIndex(Protocol):
    """An index of vectors under the inner product."""

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Replace all contents by `vectors` (n, D) of `rows` (n,)."""

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add vectors; a row that is indexed already gets the new vector."""

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Search for `users` (B, D); return rows (B, <= count), best first, -1 padded."""


class HnswIndex:
    """hnswlib's graph; built by one thread, so that the same vectors give the same graph."""

    def __init__(self, config: ModelConfig) -> None:
        self._library = import_optional("hnswlib", "hnsw")
        del config

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Replace all contents by `vectors` (n, D) of `rows` (n,)."""
        self._index = self._library.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(2 * len(rows) + 1024, ef_construction=_HNSW_BUILD_EF, M=_HNSW_LINKS, random_seed=0)
        self._index.set_num_threads(1)
        self._index.add_items(vectors, rows)

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add vectors; a row that is indexed already gets the new vector."""
        if self._index.get_current_count() + len(rows) > self._index.get_max_elements():
            self._index.resize_index(2 * (self._index.get_max_elements() + len(rows)))
        self._index.add_items(vectors, rows)

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Search for `users` (B, D); return rows (B, <= count), best first."""
        count = min(count, self._index.get_current_count())
        self._index.set_ef(count)
        try:
            rows: NDArray[np.int64] = self._index.knn_query(users, count)[0].astype(np.int64)
        except RuntimeError:  # for some user fewer than `count` elements can be reached from the entry point
            rows = np.stack([self._search_reachable(user, count) for user in users])
        return rows

    def _search_reachable(self, user: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (count,) for one user (D,), -1 padded: the requested number is halved until so many can be reached."""
        rows: NDArray[np.int64] = np.full(count, -1, np.int64)
        requested = count
        while requested:
            try:
                rows[:requested] = self._index.knn_query(user, requested)[0][0]
                return rows
            except RuntimeError:
                requested //= 2
        return rows


class IvfIndex:
    """faiss' inverted lists: as many lists as the served model has nodes, as many probed as its beam opens."""

    def __init__(self, config: ModelConfig) -> None:
        self._library = import_optional("faiss", "ivf", "faiss-cpu")
        self._library.omp_set_num_threads(1)
        self._lists, self._probes = config.leaves, config.beam

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Replace all contents by `vectors` (n, D) of `rows` (n,); the lists are k-means clusters of them."""
        lists = max(min(self._lists, len(rows) // _MIN_ITEMS_PER_LIST), 1)
        quantizer = self._library.IndexFlatIP(vectors.shape[1])
        self._index: Any = self._library.IndexIVFFlat(
            quantizer, vectors.shape[1], lists, self._library.METRIC_INNER_PRODUCT
        )
        self._index.cp.min_points_per_centroid = 1
        self._index.nprobe = min(self._probes, lists)
        self._index.train(np.ascontiguousarray(vectors))
        self.append(vectors, rows)

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add vectors; a row that is indexed already gets the new vector."""
        self._index.remove_ids(rows)
        self._index.add_with_ids(np.ascontiguousarray(vectors), np.ascontiguousarray(rows))

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Search for `users` (B, D); return rows (B, count), best first, -1 padded."""
        rows: NDArray[np.int64] = self._index.search(np.ascontiguousarray(users), count)[1]
        return rows


ANN_INDEXES: dict[str, type[HnswIndex] | type[IvfIndex]] = {"hnsw": HnswIndex, "ivf": IvfIndex}
"""Index classes by the name of their baseline."""


class AnnBaseline(Baseline):
    """Searches one kind of index over a two-tower model; nothing is built before the first query.

    Parameters
    ----------
    name
        A key of `ANN_INDEXES`.
    model
        Must learn each batch before this baseline does.
    config
        Of the served model: budget, number of nodes and beam.
    """

    def __init__(self, name: str, model: TwoTowerBaseline, config: ModelConfig) -> None:
        self.name = name
        self._model = model
        self._index: AnnIndex = ANN_INDEXES[name](config)
        self._budget = config.budget
        self._pending: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        self._built = False

    def learn(self, batch: LearnedBatch) -> None:
        """Collect the vectors that the batch changed."""
        if batch.state is not None:
            # Inserted items too: some return after an expiry, without a new vector.
            inserted = [delta.row for delta in batch.deltas if delta.op == "insert"]
            changed = np.union1d(self._model.changed, inserted).astype(np.int64)
            self.follow(batch.state, changed, batch.new_version)

    def follow(self, state: EpochState, changed: NDArray[np.int64], new_version: bool) -> None:
        """Collect the vectors of `changed` rows (n,); a new version discards what was built before."""
        alive = state.alive()
        rows = changed[changed < len(alive)]
        rows = rows[alive[rows]]
        if new_version:
            self._pending, self._built = [], False
        if len(rows):
            self._pending.append((self._model.item_vectors(state, rows, state.watermark), rows))

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer with the best of the index's first candidates, scored again by the two-tower model."""
        queries, view, scores = batch.queries, batch.views[self._model.name], batch.scores[self._model.name]
        self._build_pending()
        if not self._built:
            return {self.name: MethodResult.nothing(len(queries))}
        # Twice the budget: candidates that are gone or excluded are dropped, and cost nothing.
        rows = self._index.search(user_side(view.encoded), 2 * self._budget)
        order = queries.positions(rows)  # (B, M)
        ranks, scored = ranks_within(order, scores, queries.targets, (self._budget,))
        return {self.name: MethodResult(ranks[:, 0], top_of_order(order, scores, self._budget), scored[:, 0])}

    def _build_pending(self) -> None:
        for vectors, rows in self._pending:
            if self._built:
                self._index.append(vectors, rows)
            else:
                self._index.build(vectors, rows)
                self._built = True
        self._pending = []


def _declare(name: str) -> BaselineDeclaration:
    def create(given: BaselineContext) -> Baseline:
        model = given.created["two_tower"]
        assert isinstance(model, TwoTowerBaseline)
        return AnnBaseline(name, model, given.config.model)

    return BaselineDeclaration(name, create, default=False, needs=("two_tower",))


BASELINES = tuple(map(_declare, ANN_INDEXES))
