"""The gate on publishing: a model whose quality fell off a cliff is not handed out until it recovers."""

from __future__ import annotations

import math
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import GateConfig

_LIMITS = ("recent", "usual")


class QualityGate:
    """Closes when the recent prequential loss is worse than the usual one, and opens by itself.

    Both are running means over events, of the loss that batches had before they were learned. The gate closes when the
    recent one has been more than `margin` above the usual one for `patience` events, and opens when it is within half
    of that. The usual one goes on following meanwhile: what is worse for much longer than `usual` events is the new
    usual. A loss that is not finite moves neither and counts as worse. Nothing but the losses has an effect, so a
    replay closes and opens the gate at the same events.

    Attributes
    ----------
    reason : str
        Why the gate is closed; empty while it is open.

    Examples
    --------
    >>> gate = QualityGate(GateConfig(recent=100, usual=10_000, patience=100, warm_up=1000))
    >>> alarms = [gate.update(loss, 100, ts) for ts, loss in enumerate([4.0] * 50 + [8.0] * 5 + [4.0] * 10)]
    >>> [(alarm.kind, alarm.ts) for alarm in alarms if alarm]
    [('quality_cliff', 50), ('quality_recovered', 56)]
    """

    cliff, recovered = "quality_cliff", "quality_recovered"

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._events = self._worse = 0
        self._means = dict.fromkeys(_LIMITS, 0.0)
        self.reason = ""

    def update(self, loss: float, events: int, ts: int) -> Alarm | None:
        """Take the loss of the next batch and how many events it had; an alarm where the gate closes or opens."""
        if not self._config.enabled:
            return None
        if math.isfinite(loss):
            self._mix(loss, events)
        worse = not math.isfinite(loss) or self._means["recent"] > self._limit(self._config.margin)
        self._worse = self._worse + events if worse else 0
        if self.reason:
            better = not worse and self._means["recent"] <= self._limit(self._config.margin / 2)
            return self._open(ts) if better else None
        over = self._events > self._config.warm_up and self._worse >= self._config.patience
        return self._close(ts, loss) if over else None

    def state_dict(self) -> dict[str, Any]:
        """Everything the next decision depends on."""
        return {"means": dict(self._means), "events": self._events, "worse": self._worse, "reason": self.reason}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the gate that gave `state` would; one that is switched off is open."""
        self._means = {name: float(state["means"][name]) for name in _LIMITS}
        self._events, self._worse = int(state["events"]), int(state["worse"])
        self.reason = str(state["reason"]) if self._config.enabled else ""

    def _mix(self, loss: float, events: int) -> None:
        for name, length in (("recent", self._config.recent), ("usual", self._config.usual)):
            share = max(-math.expm1(-events / length), events / (self._events + events))  # a plain mean at first
            self._means[name] += share * (loss - self._means[name])
        self._events += events

    def _limit(self, margin: float) -> float:
        return self._means["usual"] + margin * abs(self._means["usual"])

    def _close(self, ts: int, loss: float) -> Alarm:
        recent, limit = self._means["recent"], self._limit(self._config.margin)
        shown = f"{recent:.4g}" if math.isfinite(loss) else "not finite"
        self.reason = (
            f"the loss of new events is {shown}, for {self._worse:,} events beyond {limit:.4g}, "
            f"{self._config.margin:.0%} above the usual {self._means['usual']:.4g}"
        )
        return self._alarm(self.cliff, ts, f"snapshots are held back: {self.reason}")

    def _open(self, ts: int) -> Alarm:
        self.reason = ""
        recent, usual = (f"{self._means[name]:.4g}" for name in _LIMITS)
        return self._alarm(
            self.recovered, ts, f"snapshots are handed out again: the loss of new events is {recent}, usual is {usual}"
        )

    def _alarm(self, kind: str, ts: int, detail: str) -> Alarm:
        recent, limit = self._means["recent"], self._limit(self._config.margin)
        return Alarm(id=f"{kind}:{ts}", kind=kind, ts=ts, value=recent, threshold=limit, detail=detail)
