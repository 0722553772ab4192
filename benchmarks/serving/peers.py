"""The peers: libraries that search the same vectors for the largest inner products, each over its own effort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.churn.planted_data import Vectors
from hsnn.evaluation.optional_packages import import_optional

Search = Callable[[int], Any]
"""Finds the items of a query, by its number: positions (<= k,), best first."""

# links per item, and candidates while building: usual values of HNSW
_LINKS, _BUILD_EF = 16, 200


class Effort(NamedTuple):
    """A setting of a competitor, from cheap to dear, and its search."""

    setting: str
    search: Search


def hnswlib(vectors: Vectors, queries: Vectors, k: int) -> Sequence[Effort]:
    """Search HNSW graphs by distance: an added coordinate makes all vectors equally long, so that order stays."""
    longest = float(np.linalg.norm(vectors, axis=1).max())
    added = np.sqrt(np.maximum(longest**2 - np.square(vectors).sum(1), 0))
    index = import_optional("hnswlib", "hnswlib").Index(space="l2", dim=vectors.shape[1] + 1)
    index.init_index(len(vectors), ef_construction=_BUILD_EF, M=_LINKS, random_seed=0)
    index.set_num_threads(1)
    index.add_items(np.c_[vectors, added].astype(np.float32))
    padded = np.c_[queries, np.zeros(len(queries))].astype(np.float32)

    def at(ef: int) -> Search:
        def search(number: int) -> Any:
            index.set_ef(ef)
            return index.knn_query(padded[number], k)[0][0]

        return search

    return [Effort(f"ef {ef}", at(ef)) for ef in (k, 2 * k, 4 * k, 8 * k, 16 * k)]


def faiss(vectors: Vectors, queries: Vectors, k: int) -> Sequence[Effort]:
    """Search inverted lists under the inner product."""
    library = import_optional("faiss", "faiss", "faiss-cpu")
    library.omp_set_num_threads(1)
    dim, lists = vectors.shape[1], 1 << int(np.log2(np.sqrt(10 * len(vectors))))
    quantiser = library.IndexFlatIP(dim)
    index = library.IndexIVFFlat(quantiser, dim, lists, library.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    index.train(vectors[: 64 * lists])
    index.add(vectors)

    def at(probes: int) -> Search:
        def search(number: int) -> Any:
            index.nprobe = probes
            assert quantiser is not None  # the index reads it
            return index.search(queries[number : number + 1], k)[1][0]

        return search

    return [Effort(f"nprobe {probes}", at(probes)) for probes in (4, 8, 16, 32, 64, 128, 256) if probes <= lists]


PEERS: dict[str, Callable[[Vectors, Vectors, int], Sequence[Effort]]] = {"hnswlib": hnswlib, "faiss": faiss}
"""By name, as options have them."""
