"""Signals of the way of the events: what was refused, dropped, repeated, or came late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

# Reasons of dropped events that have a signal of their own (`hsnn_events_dropped_total`).
_DUPLICATE = "duplicate"

SIGNALS = (
    Signal(name="pipeline_dead_letters", meaning="share of dead letters in the events read", worse="up", floor=0.005),
    Signal(
        name="pipeline_duplicates", meaning="share of events that repeat one that was read", worse="up", floor=0.005
    ),
    Signal(name="pipeline_dropped", meaning="share of events dropped for another reason", worse="up", floor=0.005),
    Signal(
        name="pipeline_letter_reasons",
        meaning="PSI of the reasons of dead letters",
        worse="up",
        floor=0.042,  # a sixth of 0.25, the customary major shift: the watch asks for six of it
        histogram=True,
        detector="psi",
    ),
    Signal(
        name="pipeline_late_actions",
        meaning="actions on items that were labelled already, per event",
        worse="up",
        floor=0.005,
    ),
    Signal(
        name="pipeline_disorder",
        meaning="log of the mean seconds that events are behind the watermark",
        worse="up",
        floor=0.25,
        detector="kswin",
    ),
)


class PipelineSignals:
    """Sums over the window; reasons are a few constants."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._reasons: Counter[str] = Counter()

    def update(self, observation: Observation) -> None:
        """Add a batch."""
        duplicates, dropped = observation.dropped.get(_DUPLICATE, 0), sum(observation.dropped.values())
        behind = np.maximum(observation.watermark - observation.event_ts, 0)
        self._sums.add(
            events=len(observation.event_ts),
            read=len(observation.event_ts) + dropped + observation.dead_lettered,
            dead=observation.dead_lettered,
            duplicates=duplicates,
            dropped=dropped - duplicates,
            late=observation.late_actions,
            behind=behind.sum() / 1000,
        )
        self._reasons.update(observation.letter_reasons)

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return the shares."""
        sums = self._sums
        found: dict[str, Value] = {
            "pipeline_dead_letters": sums.share("dead", "read"),
            "pipeline_duplicates": sums.share("duplicates", "read"),
            "pipeline_dropped": sums.share("dropped", "read"),
            "pipeline_letter_reasons": dict(self._reasons),
            "pipeline_late_actions": sums.share("late", "events"),
            "pipeline_disorder": float(np.log1p(sums.share("behind", "events"))),
        }
        sums.clear()
        self._reasons = Counter()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the open window."""
        return {"sums": self._sums.state_dict(), "reasons": dict(self._reasons)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._sums.load_state_dict(state.get("sums", state))  # the sums alone are of an older checkpoint
        self._reasons = Counter(state.get("reasons", {}))


GROUP = GroupDeclaration(PipelineSignals, SIGNALS)
