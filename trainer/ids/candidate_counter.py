"""Counts of ids that were seen but have no row yet, for the last so many of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.string_store import EncodedStrings


class CandidateCounter:
    """Counts of the `capacity` ids that were seen last.

    Exact for an id as long as it is remembered; one that was forgotten is counted from nothing again. So an id that
    comes often enough is let in, and a flood of ids that come once costs no more than the capacity.

    Examples
    --------
    >>> candidates = CandidateCounter(capacity=2)
    >>> [candidates.count(name) for name in ("a", "b", "a", "c", "b")]
    [1, 1, 2, 1, 1]
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, name: str) -> int:
        """Count an id once more; return its count."""
        seen = self._counts[name] = self._counts.pop(name, 0) + 1
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)
        return seen

    def drop(self, name: str) -> None:
        """Remove an id, which has a row now."""
        self._counts.pop(name, None)

    def state_dict(self) -> dict[str, Array]:
        """Return everything as arrays, longest unseen first."""
        texts = EncodedStrings.from_strings(list(self._counts))
        return {
            "candidates": texts.blob,
            "candidate_lengths": texts.lengths,
            "candidate_counts": np.fromiter(self._counts.values(), np.int64, len(self)),
        }

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state_dict` returned."""
        counts: NDArray[np.int64] = arrays["candidate_counts"]
        names = EncodedStrings(arrays["candidates"], arrays["candidate_lengths"]).to_list()
        self._counts = OrderedDict(zip(names, counts.tolist(), strict=True))
