"""The trainer's own account: what became of every event, how fast, how far behind."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from typing import Any

from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.metrics import DROPPED, EVENTS, JUDGED, LATE_ACTIONS, LOSS, NODE_LOSS, PENDING, RATE, WATERMARK
from hsnn.trainer.training.prepared import StepReport

_log = logging.getLogger(__name__)
_RATE_SECONDS = 5.0
_MEMORY = 0.98

UNSAFE_STEP = "unsafe_step"
"""Reason under which events are counted whose step was refused."""

NO_ROW = "no_row"
"""Reason under which events are counted whose item has no row of the id table (`trainer.ids`)."""


class TrainingProgress:
    """Counts engagement events by outcome; the counts are part of the checkpoint, so that a restart doubles nothing.

    Attributes
    ----------
    trained, dead_lettered : int
        An impression is trained with the batch that brings the last of its judgements.
    impressions : int
        How many of the trained ones are impressions.
    dropped : counts per reason
    loss, node_loss : float
        Running means, nats.
    """

    def __init__(self) -> None:
        self.trained = self.dead_lettered = self.impressions = 0
        self.dropped: Counter[str] = Counter()
        self.loss = self.node_loss = 0.0
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def count(self, batch: Batch, report: StepReport) -> None:
        """Account for one batch."""
        dropped = Counter(batch.dropped)
        if report.unsafe:
            dropped[UNSAFE_STEP] += report.unsafe + (0 if report.judged else batch.impressions)
            _log.error("a step on %d events was left out: %s", report.unsafe, report.refused)
        if report.rowless:
            dropped[NO_ROW] += report.rowless
        impressions = batch.impressions if report.judged or not report.unsafe else 0
        self.trained += report.events + impressions
        self.impressions += impressions
        self.dead_lettered += batch.dead_lettered
        self.dropped += dropped
        EVENTS.labels("trained").inc(report.events + impressions)
        EVENTS.labels("dead_lettered").inc(batch.dead_lettered)
        EVENTS.labels("dropped").inc(dropped.total())
        for reason, count in dropped.items():
            DROPPED.labels(reason).inc(count)
        if report.events and math.isfinite(report.loss):
            self.loss, self.node_loss = _mix(self.loss, report.loss), _mix(self.node_loss, report.node_loss)
            LOSS.set(self.loss)
            NODE_LOSS.set(self.node_loss)
        WATERMARK.set(batch.watermark / 1000)
        JUDGED.labels("due").inc(len(batch.labelled_impressions) - batch.early)
        JUDGED.labels("early").inc(batch.early)
        LATE_ACTIONS.inc(batch.late_actions)
        PENDING.set(batch.pending)
        self._mark()

    @property
    def rate(self) -> float:
        """Events learned per second over the last seconds."""
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Copy the counts, for the checkpoint."""
        return {
            "trained": self.trained,
            "impressions": self.impressions,
            "dead_lettered": self.dead_lettered,
            "dropped": dict(self.dropped),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.trained, self.dead_lettered = state["trained"], state["dead_lettered"]
        self.impressions = state["impressions"]
        self.dropped = Counter(state["dropped"])
        self._marks = deque([(time.monotonic(), self.trained)])

    def _mark(self) -> None:
        now = time.monotonic()
        self._marks.append((now, self.trained))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_SECONDS:
            self._marks.popleft()
        RATE.set(self.rate)


def _mix(mean: float, value: float) -> float:
    return _MEMORY * mean + (1 - _MEMORY) * value if mean else value
