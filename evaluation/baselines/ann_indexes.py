"""Nearest-neighbour indexes over a two-tower model's vectors: HNSW (hnswlib) and inverted lists (faiss IVF-IP).

Each is built when a version comes, from vectors as they are then, state part and bias included; items that arrive later
are appended. Its candidates are scored again with current states, within the budget of the served path.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.two_tower import TwoTower, user_side
from hsnn.evaluation.errors import MissingPackageError
from hsnn.evaluation.harness.query_batch import Field, Found, View, best_of
from hsnn.evaluation.metrics.ranks import ranks_within
from hsnn.serving.mirror.mirror import EpochState
from hsnn.trainer.config.model import ModelConfig

_LINKS, _BUILD_EF = 16, 100
_PER_LIST = 4
"""Items per inverted list at least."""


class Graph(Protocol):
    """An index of vectors under the inner product."""

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Start from `vectors` (n, D) of `rows` (n,)."""

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add more."""

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (B, count), best first, -1 padded, for `users` (B, D)."""


class Hnsw:
    """hnswlib's graph; one thread, so that the same vectors give the same graph."""

    def __init__(self, config: ModelConfig) -> None:
        self._library = import_optional("hnswlib", "hnsw")
        del config

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Start from `vectors` (n, D) of `rows` (n,)."""
        self._index = self._library.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(2 * len(rows) + 1024, ef_construction=_BUILD_EF, M=_LINKS, random_seed=0)
        self._index.set_num_threads(1)
        self._index.add_items(vectors, rows)

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add more; a row that is there gets the new vector."""
        if self._index.get_current_count() + len(rows) > self._index.get_max_elements():
            self._index.resize_index(2 * (self._index.get_max_elements() + len(rows)))
        self._index.add_items(vectors, rows)

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (B, <= count), best first, for `users` (B, D)."""
        count = min(count, self._index.get_current_count())
        self._index.set_ef(count)
        try:
            rows: NDArray[np.int64] = self._index.knn_query(users, count)[0].astype(np.int64)
        except RuntimeError:  # for some user so many cannot be reached from where the search begins
            rows = np.stack([self._reached(user, count) for user in users])
        return rows

    def _reached(self, user: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (count,) for one user (D,), -1 padded: as many as can be reached, halving what is asked for."""
        rows: NDArray[np.int64] = np.full(count, -1, np.int64)
        asked = count
        while asked:
            try:
                rows[:asked] = self._index.knn_query(user, asked)[0][0]
                return rows
            except RuntimeError:
                asked //= 2
        return rows


class Ivf:
    """faiss' inverted lists: as many lists as the served level has nodes, as many probed as its beam opens."""

    def __init__(self, config: ModelConfig) -> None:
        self._library = import_optional("faiss", "ivf", "faiss-cpu")
        self._library.omp_set_num_threads(1)
        self._lists, self._probes = config.leaves, config.beam

    def build(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Start from `vectors` (n, D) of `rows` (n,); the lists are k-means of them."""
        lists = max(min(self._lists, len(rows) // _PER_LIST), 1)
        quantizer = self._library.IndexFlatIP(vectors.shape[1])
        self._index: Any = self._library.IndexIVFFlat(
            quantizer, vectors.shape[1], lists, self._library.METRIC_INNER_PRODUCT
        )
        self._index.cp.min_points_per_centroid = 1
        self._index.nprobe = min(self._probes, lists)
        self._index.train(np.ascontiguousarray(vectors))
        self.append(vectors, rows)

    def append(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Add more; a row that is there gets the new vector."""
        self._index.remove_ids(rows)
        self._index.add_with_ids(np.ascontiguousarray(vectors), np.ascontiguousarray(rows))

    def search(self, users: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows (B, count), best first, -1 padded, for `users` (B, D)."""
        rows: NDArray[np.int64] = self._index.search(np.ascontiguousarray(users), count)[1]
        return rows


GRAPHS: dict[str, type[Hnsw] | type[Ivf]] = {"hnsw": Hnsw, "ivf": Ivf}


class Neighbours:
    """One kind of index, kept up with a two-tower model; nothing is built before somebody asks."""

    def __init__(self, name: str, config: ModelConfig) -> None:
        self.name = name
        self._graph: Graph = GRAPHS[name](config)
        self._budget = config.budget
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        self._built = False

    def follow(self, model: TwoTower, world: EpochState, changed: NDArray[np.int64], flipped: bool) -> None:
        """Take over a version, or the rows (n,) of items that arrived or changed since."""
        alive = world.alive()
        rows = changed[changed < len(alive)]
        rows = rows[alive[rows]]
        if flipped:
            self._waiting, self._built = [], False
        if len(rows):
            self._waiting.append((model.items(world, rows, world.watermark), rows))

    def judge(self, field: Field, view: View, scores: NDArray[np.float32]) -> dict[str, Found]:
        """Answers from the first candidates, scored again; `view` and `scores` (B, N) are the two-tower model's."""
        self._catch_up()
        if not self._built:
            return {self.name: Found(*_nothing(field))}
        rows = self._graph.search(user_side(view.encoded), 2 * self._budget)
        order = field.at(rows)  # (B, M); what has left or is barred costs nothing
        ranks, scored = ranks_within(order, scores, field.places, (self._budget,))
        return {self.name: Found(ranks[:, 0], best_of(order, scores, self._budget), scored[:, 0])}

    def _catch_up(self) -> None:
        for vectors, rows in self._waiting:
            if self._built:
                self._graph.append(vectors, rows)
            else:
                self._graph.build(vectors, rows)
                self._built = True
        self._waiting = []


def import_optional(module: str, needed_by: str, name: str | None = None) -> Any:
    """Import a package of the extra `evaluation`.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{needed_by} needs {name or module}, which is not installed: pip install 'hsnn[evaluation]', "
            "or leave it out"
        ) from error


def _nothing(field: Field) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    return np.full(len(field), np.inf), np.full((len(field), 1), -1), np.zeros(len(field), np.int64)
