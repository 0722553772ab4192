"""Counts of training events by outcome, running losses, and the training rate."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from typing import Any

import numpy as np

from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.metrics import (
    DROPPED,
    EVENTS,
    JUDGED,
    LATE_ACTIONS,
    LOSS,
    NODE_LOSS,
    OFF_TIME,
    PENDING,
    RATE,
    WATERMARK,
)
from hsnn.trainer.training.prepared import StepReport

_log = logging.getLogger(__name__)
# Seconds that the training rate is a mean over: long enough for several batches, short enough to follow a stall.
_RATE_SECONDS = 5.0

# Weight of the past in the running losses, per batch: a mean over about 50 batches.
_LOSS_DECAY = 0.98

UNSAFE_STEP = "unsafe_step"
"""Reason of dropped events whose training step was rejected by the gradient guard."""

NO_ROW = "no_row"
"""Reason of dropped events whose item has no row in the id table (`trainer.ids`)."""


class TrainingProgress:
    """Engagement events by outcome; part of the checkpoint, so that a restart counts nothing twice.

    Attributes
    ----------
    trained, dead_lettered : int
        An impression counts as trained with the batch that has its last label.
    impressions : int
        Impressions among the trained events.
    dropped : counts per reason
    loss, node_loss : float
        Running means, nats.
    labelled, labelled_early, late_actions : int
        Shown items that got their labels, those of them that did before their time, and actions that came after it;
        since this process began, and not part of the checkpoint.
    """

    def __init__(self) -> None:
        self.labelled = self.labelled_early = self.late_actions = 0
        self.trained = self.dead_lettered = self.impressions = 0
        self.dropped: Counter[str] = Counter()
        self.loss = self.node_loss = 0.0
        self._samples: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def count(self, batch: Batch, report: StepReport) -> None:
        """Count one batch."""
        dropped = Counter(batch.dropped)
        if report.unsafe:
            dropped[UNSAFE_STEP] += report.unsafe + (0 if report.judged else batch.impressions)
            _log.error("a step on %d events was skipped: %s", report.unsafe, report.refused)
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
            self.loss, self.node_loss = (
                _running_mean(self.loss, report.loss),
                _running_mean(self.node_loss, report.node_loss),
            )
            LOSS.set(self.loss)
            NODE_LOSS.set(self.node_loss)
        WATERMARK.set(batch.watermark / 1000)
        self.labelled += len(batch.labelled_impressions)
        self.labelled_early += batch.early
        self.late_actions += batch.late_actions
        JUDGED.labels("due").inc(len(batch.labelled_impressions) - batch.early)
        JUDGED.labels("early").inc(batch.early)
        LATE_ACTIONS.inc(batch.late_actions)
        PENDING.set(batch.pending)
        self._sample_rate()

    @property
    def rate(self) -> float:
        """Events trained per second over the last seconds."""
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the counts, for the checkpoint."""
        return {
            "trained": self.trained,
            "impressions": self.impressions,
            "dead_lettered": self.dead_lettered,
            "dropped": dict(self.dropped),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`; the training rate starts anew."""
        self.trained, self.dead_lettered = state["trained"], state["dead_lettered"]
        self.impressions = state["impressions"]
        self.dropped = Counter(state["dropped"])
        self._samples = deque([(time.monotonic(), self.trained)])

    def _sample_rate(self) -> None:
        now = time.monotonic()
        self._samples.append((now, self.trained))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        RATE.set(self.rate)


def note_off_time(batch: Batch, tolerance: int) -> None:
    """Count the engagements that are further than `tolerance` ms from stream time: some producer's clock is wrong."""
    off = batch.engagements.ts - batch.watermark
    OFF_TIME.labels("ahead").inc(int(np.count_nonzero(off > tolerance)))
    OFF_TIME.labels("behind").inc(int(np.count_nonzero(off < -tolerance)))


def _running_mean(mean: float, value: float) -> float:
    return _LOSS_DECAY * mean + (1 - _LOSS_DECAY) * value if mean else value
