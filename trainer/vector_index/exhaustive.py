"""Exhaustive search over brought vectors, and how much of its answer an index finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.trainer.vector_index.index import VectorIndex

Csr = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Items of every user: `indptr` (U+1,) and `indices`, as of a sparse matrix in CSR form."""

# Users whose scores of all items are held at once: some 80 MB with forty thousand items.
_AT_ONCE = 512


class IndexRecall(NamedTuple):
    """What an index finds of the exhaustive answers, in the mean over users.

    Attributes
    ----------
    recall : float
        Share of the exhaustive answer's items.
    scored : float
        Dot products of items per request.
    nodes : int
        Nodes scored per request.
    """

    recall: float
    scored: float
    nodes: int


def csr_of_pairs(pairs: NDArray[np.int64], users: int) -> Csr:
    """Group pairs (m, 2), ordered by user, by their user.

    Examples
    --------
    >>> starts, items = csr_of_pairs(np.array([[0, 5], [2, 3], [2, 4]]), users=3)
    >>> starts.tolist(), items.tolist()
    ([0, 1, 1, 3], [5, 3, 4])
    """
    return np.searchsorted(pairs[:, 0], np.arange(users + 1)), pairs[:, 1]


def exhaustive_top(users: NDArray[np.float32], items: NDArray[np.float32], k: int, barred: Csr) -> NDArray[np.int64]:
    """Return the `k` items of largest dot product, less the `barred` ones, for users (U, d): (U, k), best first.

    Places for which no item is left are -1.
    """
    found, columns = np.full((len(users), k), -1, np.int64), torch.from_numpy(items).T
    starts, own = barred
    for first in range(0, len(users), _AT_ONCE):
        scores = torch.from_numpy(users[first : first + _AT_ONCE]) @ columns
        bounds = starts[first : first + len(scores) + 1]
        rows = np.repeat(np.arange(len(scores)), np.diff(bounds))
        scores[torch.from_numpy(rows), torch.from_numpy(own[bounds[0] : bounds[-1]])] = -torch.inf
        best = scores.topk(min(k, len(items)), 1)
        found[first : first + _AT_ONCE, : len(items)] = best.indices.masked_fill(best.values == -torch.inf, -1).numpy()
    return found


def csr_rows(lists: Csr, users: NDArray[np.int64]) -> Csr:
    """Select the lists of some users (B,).

    Examples
    --------
    >>> starts, items = csr_rows((np.array([0, 1, 1, 3]), np.array([5, 3, 4])), np.array([2, 0]))
    >>> starts.tolist(), items.tolist()
    ([0, 2, 3], [3, 4, 5])
    """
    starts, items = lists
    counts = starts[users + 1] - starts[users]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.r_[0, np.cumsum(counts)], items[np.repeat(starts[users], counts) + within]


def index_recall(index: VectorIndex, users: NDArray[np.float32], k: int, barred: Csr) -> IndexRecall:
    """Compare the index's answers to users (U, d) with the exhaustive ones, with its own beam and budget."""
    answers = index.search(users, k, exclude=barred)
    best = exhaustive_top(users, index.items, k, barred)
    # One key per user and item, and per user's empty places: where both are empty, nothing was missed.
    keys = [np.arange(len(users))[:, None] * (len(index.items) + 1) + found + 1 for found in (answers.items, best)]
    recall = float(np.isin(keys[1], keys[0]).mean())
    return IndexRecall(recall, float(answers.scored.mean()), answers.nodes)
