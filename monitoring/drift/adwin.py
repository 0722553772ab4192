"""Drift of the loss: ADWIN (Bifet and Gavalda 2007) over the prequential loss of the batches."""

from __future__ import annotations

import math
from typing import Any

from river.drift import ADWIN

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import LossDriftConfig
from hsnn.monitoring.drift.detector import AlarmCoolDown


class LossDrift:
    """Raises an alarm when the loss of batches not yet learned from becomes worse.

    ADWIN keeps a window of losses and cuts it where the means of its two parts differ by more than chance allows. A cut
    downwards is the model learning and raises nothing. ADWIN has no state that can be written down, so the losses since
    it was last started are kept and given to a fresh one after a restart; when there are `memory` of them, a fresh one
    goes on with the newer half.

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
        self._pause = AlarmCoolDown(config.warm_up, config.cool_down)
        self._start([])

    def update(self, value: float, ts: int) -> Alarm | None:
        """Take the loss of the next batch, measured before it was learned; a loss that is not finite is passed over."""
        if not self._config.enabled or not math.isfinite(value):
            return None
        self._pause.advance()
        self._losses.append(value)
        self._adwin.update(value)
        if self._adwin.drift_detected:
            return self._cut(ts)
        if len(self._losses) >= self._config.memory:
            self._start(self._losses[len(self._losses) // 2 :])
        return None

    def state_dict(self) -> dict[str, Any]:
        """Losses since ADWIN was last started, at most `memory`, and the pause."""
        return {"losses": list(self._losses), "pause": self._pause.remaining}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replay the losses into a fresh ADWIN."""
        self._start([float(loss) for loss in state["losses"]])
        self._pause.remaining = int(state["pause"])

    def _start(self, losses: list[float]) -> None:
        # clock=1 looks for a cut at every batch: batches are few, and an alarm 32 batches late is no use
        self._adwin = ADWIN(delta=self._config.delta, clock=1)
        self._losses = losses
        for loss in losses:
            self._adwin.update(loss)

    def _cut(self, ts: int) -> Alarm | None:
        kept = int(self._adwin.width)
        before, after = _mean(self._losses[:-kept]), _mean(self._losses[-kept:])
        limit = before + self._config.min_rise * abs(before)
        alarming = after > limit and self._pause.expired()
        # the kept losses still hold some from before the shift, which would raise a second alarm for it
        self._start([] if alarming else self._losses[-kept:])
        if not alarming:
            return None
        self._pause.restart()
        detail = f"the loss of new batches rose from {before:.4g} to {after:.4g}, the mean of the last {kept}"
        return Alarm(id=f"{self.kind}:{ts}", kind=self.kind, ts=ts, value=after, threshold=limit, detail=detail)


def _mean(losses: list[float]) -> float:
    return math.fsum(losses) / len(losses)
