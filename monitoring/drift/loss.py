"""Drift of the loss: ADWIN (Bifet and Gavalda 2007) on the prequential loss of the batches."""

from __future__ import annotations

import math
from typing import Any

from river.drift import ADWIN

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import LossDriftConfig
from hsnn.monitoring.detector import AlarmCoolDown, DetectorDeclaration


class LossDrift:
    """Raise an alarm when the loss of batches, before training on them, becomes worse.

    ADWIN keeps a window of losses and cuts it where the means of its two parts differ significantly. A cut to a lower
    mean is the model learning and raises nothing. river's ADWIN cannot be serialised, so the losses since it was
    created are kept and replayed into a new one after a restart; when there are `memory` of them, a new one starts from
    the newer half.

    Examples
    --------
    >>> drift = LossDrift(LossDriftConfig(warm_up=0))
    >>> alarms = [drift.update(loss, ts) for ts, loss in enumerate([2.0, 2.1] * 50 + [4.0, 4.1] * 50)]
    >>> [alarm.ts for alarm in alarms if alarm]
    [109]
    """

    kind = "loss_drift"

    def __init__(self, config: LossDriftConfig) -> None:
        self._config = config
        self._cool_down = AlarmCoolDown(config.warm_up, config.cool_down)
        self._start([])

    def update(self, value: float, ts: int) -> Alarm | None:
        """Update with the loss of the next batch, before training on it; a loss that is not finite is ignored."""
        if not self._config.enabled or not math.isfinite(value):
            return None
        self._cool_down.advance()
        self._losses.append(value)
        self._adwin.update(value)
        if self._adwin.drift_detected:
            return self._cut(ts)
        if len(self._losses) >= self._config.memory:
            self._start(self._losses[len(self._losses) // 2 :])
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the losses since ADWIN was created, at most `memory`, and the rest of the cool-down."""
        return {"losses": list(self._losses), "pause": self._cool_down.remaining}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the losses into a new ADWIN."""
        self._start([float(loss) for loss in state["losses"]])
        self._cool_down.remaining = int(state["pause"])

    def _start(self, losses: list[float]) -> None:
        # clock=1 checks for a cut at every batch; the default of 32 would delay alarms by up to 32 batches.
        self._adwin = ADWIN(delta=self._config.delta, clock=1)
        self._losses = losses
        for loss in losses:
            self._adwin.update(loss)

    def _cut(self, ts: int) -> Alarm | None:
        kept = int(self._adwin.width)
        before, after = _mean(self._losses[:-kept]), _mean(self._losses[-kept:])
        limit = before + self._config.min_rise * abs(before)
        alarming = after > limit and self._cool_down.expired()
        # The losses that ADWIN keeps include some from before the shift, which would raise a second alarm for it.
        self._start([] if alarming else self._losses[-kept:])
        if not alarming:
            return None
        self._cool_down.restart()
        detail = f"the loss of new batches rose from {before:.4g} to {after:.4g}, the mean of the last {kept}"
        return Alarm(id=f"{self.kind}:{ts}", kind=self.kind, ts=ts, value=after, threshold=limit, detail=detail)


def _mean(losses: list[float]) -> float:
    return math.fsum(losses) / len(losses)


DETECTOR = DetectorDeclaration(lambda config: LossDrift(config.loss_drift), lambda signals: signals.loss)
