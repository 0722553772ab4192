"""The quality gate: a circuit breaker that holds snapshots back while the prequential loss is much worse than usual."""

from __future__ import annotations

import math
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import GateConfig

# The two averages of the loss.
_LIMITS = ("recent", "usual")


class QualityGate:
    """Close when the recent prequential loss exceeds the usual one; open again when it recovers.

    Both are exponential moving averages, over events, of the loss of batches before they are trained on. The gate
    closes when the recent average has exceeded the usual one by more than `margin` for `patience` events, and opens
    when the excess is at most half of that (hysteresis). The usual average keeps updating meanwhile, so that a loss
    that stays high for much longer than `usual` events becomes the new baseline. A loss that is not finite updates
    neither and counts as worse. The gate depends on the losses alone: a replay closes and opens it at the same events.

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
        """Update with the loss of the next batch of `events` events; return an alarm if the gate closes or opens."""
        if not self._config.enabled:
            return None
        if math.isfinite(loss):
            self._update_means(loss, events)
        worse = not math.isfinite(loss) or self._means["recent"] > self._limit(self._config.margin)
        self._worse = self._worse + events if worse else 0
        if self.reason:
            better = not worse and self._means["recent"] <= self._limit(self._config.margin / 2)
            return self._open(ts) if better else None
        over = self._events > self._config.warm_up and self._worse >= self._config.patience
        return self._close(ts, loss) if over else None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next decision depends on."""
        return {"means": dict(self._means), "events": self._events, "worse": self._worse, "reason": self.reason}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`; a gate that is disabled now is open."""
        self._means = {name: float(state["means"][name]) for name in _LIMITS}
        self._events, self._worse = int(state["events"]), int(state["worse"])
        self.reason = str(state["reason"]) if self._config.enabled else ""

    def _update_means(self, loss: float, events: int) -> None:
        for name, length in (("recent", self._config.recent), ("usual", self._config.usual)):
            # Until `length` events were seen the arithmetic mean has the larger weight: no bias from the start at 0.
            weight = max(-math.expm1(-events / length), events / (self._events + events))
            self._means[name] += weight * (loss - self._means[name])
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
            self.recovered, ts, f"snapshots are published again: the loss of new events is {recent}, usual is {usual}"
        )

    def _alarm(self, kind: str, ts: int, detail: str) -> Alarm:
        recent, limit = self._means["recent"], self._limit(self._config.margin)
        return Alarm(id=f"{kind}:{ts}", kind=kind, ts=ts, value=recent, threshold=limit, detail=detail)
