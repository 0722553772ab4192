"""Signals of the sources of candidates: what each names of the items that users engage with, and how these rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsnn.monitoring.observation import MEMORY_NAMES, NEIGHBOURS_NAME, Observation
from hsnn.monitoring.signals.model import LEAST, TOP
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

SIGNALS = (
    Signal(
        name="sources_neighbours_share",
        meaning="share of events whose item is a neighbour of the user's last items",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="sources_memory_share",
        meaning="share of events whose item the user's memory holds",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="sources_index_share",
        meaning="share of events whose item the index alone can yield",
        worse="both",
        floor=0.02,
        seasonal=True,
    ),
    Signal(
        name="sources_neighbours_recall",
        meaning="share, of events on neighbours, whose item is in the top 2% of the step's candidates",
        worse="down",
        floor=0.03,
    ),
    Signal(
        name="sources_index_recall",
        meaning="the same, of events whose item the index alone can yield",
        worse="down",
        floor=0.03,
    ),
)


class SourceSignals:
    """Sums over the steps of the window that looked for their items among the sources: every fourth."""

    def __init__(self) -> None:
        self._sums = Sums()

    def update(self, observation: Observation) -> None:
        """Add a batch."""
        sources, ranks = observation.model.sources, observation.model.ranks
        if not len(sources):
            return
        parts = {
            "neighbours": (sources & NEIGHBOURS_NAME) > 0,
            "memory": (sources & MEMORY_NAMES) > 0,
            "index": sources == 0,
        }
        self._sums.add(events=len(sources), **{name: named.sum() for name, named in parts.items()})
        if len(ranks) == len(sources):
            found = ranks < TOP
            self._sums.add(
                **{f"{name}_ranked": named.sum() for name, named in parts.items()},
                **{f"{name}_found": (found & named).sum() for name, named in parts.items()},
            )

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return the shares; the recall of a source that named few is not measured."""
        sums = self._sums
        found: dict[str, Value] = {
            f"sources_{name}_share": sums.share(name, "events") for name in ("neighbours", "memory", "index")
        }
        for name in ("neighbours", "index"):  # that of the memory is `model_memory_recall`
            found[f"sources_{name}_recall"] = sums.share(f"{name}_found", f"{name}_ranked", least=LEAST)
        sums.clear()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the open window."""
        return self._sums.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state)


GROUP = GroupDeclaration(SourceSignals, SIGNALS)
