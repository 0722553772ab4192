"""The peers: libraries and a server that search for nearest neighbours, each as its users would churn it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.churn.memory import resident
from benchmarks.churn.planted_data import Block, PlantedData, Vectors
from benchmarks.churn.protocol import Numbers
from benchmarks.churn.vector_set_server import vector_server
from hsnn.evaluation.optional_packages import import_optional
from hsnn.streaming.redis.client import connect

# links per item, and candidates while building and while searching: usual values of HNSW
_LINKS, _BUILD_EF, _SEARCH_EF = 16, 100, 200


class Hnswlib:
    """hnswlib: new items reuse the places of deleted ones (`allow_replace_deleted`)."""

    def __init__(self, world: PlantedData) -> None:
        self._world, self._before = world, resident()
        self._index = import_optional("hnswlib", "hnswlib").Index(space="ip", dim=world.queries.shape[1])

    def build(self, items: Block) -> None:
        """Start from these items."""
        self._index.init_index(
            len(items.numbers), ef_construction=_BUILD_EF, M=_LINKS, random_seed=0, allow_replace_deleted=True
        )
        self._index.set_num_threads(1)
        self._index.set_ef(_SEARCH_EF)
        self._index.add_items(items.vectors, items.numbers)

    def replace(self, gone: Block, new: Block) -> None:
        """Mark items deleted and put others in their places."""
        for number in gone.numbers.tolist():
            self._index.mark_deleted(number)
        self._index.add_items(new.vectors, new.numbers, replace_deleted=True)

    def wait_until_visible(self) -> None:
        """Do nothing: changes are visible at once."""

    def search(self, user: int, k: int) -> Numbers:
        """Numbers (k,), best first."""
        found: Numbers = self._index.knn_query(self._world.queries[user], k)[0][0].astype(np.int64)
        return found

    def bytes(self) -> int:
        """Growth of this process."""
        return resident() - self._before

    def details(self) -> dict[str, Any]:
        """Return the parameters."""
        return {"set": f"M {_LINKS}, ef {_BUILD_EF}/{_SEARCH_EF}"}

    def end(self) -> None:
        """Do nothing."""


class Faiss:
    """faiss' inverted lists under the inner product, as many as the system has leaves; the coarse quantiser stays."""

    def __init__(self, world: PlantedData) -> None:
        self._world, self._before = world, resident()
        self._faiss = import_optional("faiss", "faiss", "faiss-cpu")
        self._faiss.omp_set_num_threads(1)

    def build(self, items: Block) -> None:
        """Train on these items and put them in."""
        dim, lists = self._world.queries.shape[1], self._world.config.leaves
        quantiser = self._faiss.IndexFlatIP(dim)
        self._index = self._faiss.IndexIVFFlat(quantiser, dim, lists, self._faiss.METRIC_INNER_PRODUCT)
        self._index.cp.seed = 0
        self._index.own_fields = True
        quantiser.this.disown()
        self._index.train(items.vectors[: 64 * lists])
        self._index.nprobe = max(1, round(lists * self._world.config.budget / self._world.items))
        self._index.set_direct_map_type(self._faiss.DirectMap.Hashtable)
        self._index.add_with_ids(items.vectors, items.numbers)

    def replace(self, gone: Block, new: Block) -> None:
        """Take items out of their lists and put others into theirs."""
        self._index.remove_ids(self._faiss.IDSelectorArray(gone.numbers))
        self._index.add_with_ids(new.vectors, new.numbers)

    def wait_until_visible(self) -> None:
        """Do nothing: changes are visible at once."""

    def search(self, user: int, k: int) -> Numbers:
        """Numbers (<= k,), best first."""
        found: Numbers = self._index.search(self._world.queries[user : user + 1], k)[1][0]
        return found[found >= 0]

    def bytes(self) -> int:
        """Growth of this process."""
        return resident() - self._before

    def details(self) -> dict[str, Any]:
        """Sizes of the lists, and how it is set."""
        sizes = np.array([self._index.invlists.list_size(n) for n in range(self._index.nlist)])
        return {"max_over_mean": float(sizes.max() / sizes.mean()), "set": f"nprobe {self._index.nprobe}"}

    def end(self) -> None:
        """Do nothing."""


class FaissRebuilt(Faiss):
    """The same, trained and filled again from all items each time that what was replaced must be seen."""

    def build(self, items: Block) -> None:
        """Train on these items and put them in."""
        self._gone: list[Numbers] = []
        self._items = items
        super().build(items)

    def replace(self, gone: Block, new: Block) -> None:
        """Note what is to be replaced."""
        self._gone.append(gone.numbers)
        self._items = Block(*(np.concatenate(pair) for pair in zip(self._items, new, strict=True)))

    def wait_until_visible(self) -> None:
        """Build again, if anything was replaced."""
        if self._gone:
            stays = ~np.isin(self._items.numbers, np.concatenate(self._gone))
            self.build(Block(*(column[stays] for column in self._items)))


class VectorSet:
    """The vector sets of Redis 8: vectors are made as long as one another, so that its cosine orders like a product."""

    def __init__(self, world: PlantedData) -> None:
        self._world, self._server = world, vector_server()
        self._redis = connect(self._server.url)

    def build(self, items: Block) -> None:
        """Put these items in."""
        self._longest = 1.5 * float(np.linalg.norm(items.vectors, axis=1).max())
        self._before = self._used()
        self._add(items)

    def replace(self, gone: Block, new: Block) -> None:
        """Take items out and put others in."""
        pipeline = self._redis.pipeline(transaction=False)
        for number in gone.numbers.tolist():
            pipeline.execute_command("VREM", "items", number)
        pipeline.execute()
        self._add(new)

    def wait_until_visible(self) -> None:
        """Do nothing: changes are visible at once."""

    def search(self, user: int, k: int) -> Numbers:
        """Numbers (k,), best first."""
        query = np.r_[self._world.queries[user], np.float32(0)]
        found: Any = self._redis.execute_command("VSIM", "items", "FP32", query.tobytes(), "COUNT", k, "EF", _SEARCH_EF)
        return np.array([int(name) for name in found], np.int64)

    def bytes(self) -> int:
        """Growth of the server."""
        return self._used() - self._before

    def details(self) -> dict[str, Any]:
        """Return the parameters."""
        return {"set": f"M {_LINKS}, ef {_BUILD_EF}/{_SEARCH_EF}, not quantised"}

    def end(self) -> None:
        """Stop the server."""
        self._server.stop()

    def _add(self, items: Block) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for number, vector in zip(items.numbers.tolist(), self._lengthened(items.vectors), strict=True):
            pipeline.execute_command(
                "VADD", "items", "FP32", vector.tobytes(), number, "NOQUANT", "EF", _BUILD_EF, "M", _LINKS
            )
        pipeline.execute()

    def _lengthened(self, vectors: Vectors) -> Vectors:
        """Vectors (n, d+1), all of one length."""
        squares = np.maximum(self._longest**2 - np.square(vectors).sum(1), 0)
        return np.c_[vectors, np.sqrt(squares)].astype(np.float32)

    def _used(self) -> int:
        return int(self._redis.info("memory")["used_memory"])


PEERS: dict[str, Callable[[PlantedData], Any]] = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "faiss_rebuilt": FaissRebuilt,
    "vectorset": VectorSet,
}
"""By name, as options have them."""
