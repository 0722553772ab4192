"""Segments of the stream: shares of actions, context fields and item features, and which one moved most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from hsnn.monitoring.observation import Observation, every_so_many

# Fields and values per field that are counted, the most common first: a field of ids is no segment.
_FIELDS, _VALUES = 16, 24

# Windows that count as recent, those in which a shift shows; and the factor per window of the counts of those before,
# an effective length of 50 windows.
_RECENT, _USUAL = 4, 0.98

# A share that moved by less is not worth a word.
_WORTH_NAMING = 0.03

Counts = dict[str, dict[str, float]]


class Segments:
    """Counts per field and value, of the last windows and, decayed, of those before.

    Examples
    --------
    >>> segments = Segments()
    >>> for window in range(60):
    ...     bought = 0 if window < 56 else 20
    ...     segments.count({("action", "click"): 40 - bought, ("action", "buy"): bought})
    ...     segments.close()
    >>> segments.moved_most()
    'action=buy: 0% -> 50%'
    """

    def __init__(self) -> None:
        self._window: dict[str, Counter[str]] = {}
        self._recent: list[Counts] = []  # oldest first
        self._usual: Counts = {}

    def update(self, observation: Observation) -> None:
        """Count a sample of a batch's events: every so many-th."""
        self.count(Counter(("action", action) for action in every_so_many(observation.actions)))
        self.count(observation.context_texts)
        self.count(observation.item_texts)

    def count(self, times: Mapping[tuple[str, str], int]) -> None:
        """Add how often fields had values."""
        window = self._window
        for (field, value), number in times.items():
            counts = window.get(field)
            if counts is None:
                if len(window) >= _FIELDS:
                    continue
                counts = window[field] = Counter()
            counts[value] += number

    def close(self) -> None:
        """End the window; the oldest of the recent ones joins those before."""
        self._recent.append({field: _most_common([counts]) for field, counts in self._window.items()})
        self._window = {}
        if len(self._recent) <= _RECENT:
            return
        oldest = self._recent.pop(0)
        decayed = {field: {name: _USUAL * n for name, n in counts.items()} for field, counts in self._usual.items()}
        fields = sorted({*decayed, *oldest})
        self._usual = _most_used(
            {field: _most_common([decayed.get(field, {}), oldest.get(field, {})]) for field in fields}
        )

    def moved_most(self) -> str:
        """Name the value whose share has moved most, beside chance; empty where none has moved much."""
        best, text = 0.0, ""
        for field, usual in sorted(self._usual.items()):
            recent = _sum([window.get(field, {}) for window in self._recent])
            old_total, new_total = sum(usual.values()), sum(recent.values())
            if not old_total or not new_total:
                continue
            for value in sorted({*usual, *recent}):
                old, new = usual.get(value, 0.0) / old_total, recent.get(value, 0.0) / new_total
                common = (usual.get(value, 0.0) + recent.get(value, 0.0)) / (old_total + new_total)
                error = math.sqrt(max(common * (1 - common), 1e-9) * (1 / old_total + 1 / new_total))
                if abs(new - old) >= _WORTH_NAMING and abs(new - old) / error > best:
                    best, text = abs(new - old) / error, f"{field}={value}: {old:.0%} -> {new:.0%}"
        return text

    def state_dict(self) -> dict[str, Any]:
        """Return all counts."""
        return {
            "window": {field: dict(counts) for field, counts in self._window.items()},
            "recent": [_copy(window) for window in self._recent],
            "usual": _copy(self._usual),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._window = {field: Counter(counts) for field, counts in state["window"].items()}
        self._recent = [_copy(window) for window in state["recent"]]
        self._usual = _copy(state["usual"])


def _copy(counts: Mapping[str, Mapping[str, float]]) -> Counts:
    return {field: {name: float(count) for name, count in named.items()} for field, named in counts.items()}


def _sum(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(part.get(name, 0.0) for part in parts) for name in sorted({*chain(*parts)})}


def _most_common(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return dict(sorted(_sum(parts).items(), key=lambda pair: (-pair[1], pair[0]))[:_VALUES])


def _most_used(counts: Counts) -> Counts:
    """Keep the fields that were counted most, so that a field which nobody sends any more makes room."""
    ranked = sorted(counts.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
    return dict(ranked[:_FIELDS])
