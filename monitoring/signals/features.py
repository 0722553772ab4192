"""Signals of the distributions of features: of the events' context fields, and of the engaged items' features."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Value

# Groups of values per field, by their hash: a field of titles or ids has more values than a window has events.
_GROUPS = 8

# Fields that are counted; further ones count as none, so that a producer of random names fills no memory.
_FIELDS = 16

# A sixth of 0.25, the customary major shift of an index: the watch asks for six of it.
_FLOOR = 0.042

SIGNALS = (
    Signal(
        name="features_context_mix",
        meaning="PSI of the values of context fields",
        worse="up",
        floor=_FLOOR,
        seasonal=True,
        histogram=True,
        detector="psi",
    ),
    Signal(
        name="features_item_mix",
        meaning="PSI of the values of the engaged items' features",
        worse="up",
        floor=_FLOOR,
        seasonal=True,
        histogram=True,
        detector="psi",
    ),
)


class FeatureSignals:
    """Counts by field and group of values, of a sample of each batch."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {signal.name: Counter() for signal in SIGNALS}

    def update(self, observation: Observation) -> None:
        """Count every so many-th event, and the features of every so many-th item."""
        for signal, times in zip(SIGNALS, (observation.context_texts, observation.item_texts), strict=True):
            self._count(self._counts[signal.name], times)

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return the counts."""
        found: dict[str, Value] = {name: dict(counts) for name, counts in self._counts.items()}
        self._counts = {signal.name: Counter() for signal in SIGNALS}
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the open window."""
        return {name: dict(counts) for name, counts in self._counts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._counts = {signal.name: Counter(state[signal.name]) for signal in SIGNALS}

    def _count(self, counts: Counter[str], times: Mapping[tuple[str, str], int]) -> None:
        for (field, text), number in times.items():
            name = f"{field}={zlib.crc32(text.encode()) % _GROUPS}"
            if name in counts or len(counts) < _FIELDS * _GROUPS:
                counts[name] += number


GROUP = GroupDeclaration(FeatureSignals, SIGNALS)
