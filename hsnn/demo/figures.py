"""The figures of a run, for the dashboard and the JSON summary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from hsnn.monitoring.audit import AuditEntry

Recall = dict[str, dict[str, float]]
"""``{"recall_at_20": {"served": ..., "popularity": ...}, "recall_at_50": ...}``; empty before the first answer."""


@dataclass
class IndexFigures:
    """Figures of the index, from the scheduler; `new` and `expired` count since the scheduler started."""

    items: int = 0
    new: int = 0
    expired: int = 0
    nodes: int = 0
    max_over_mean: float = 0.0
    dead: int = 0
    version: int = 0


@dataclass
class Figures:
    """All figures of a run so far.

    Attributes
    ----------
    wanted
        Engagements to send.
    seconds
        Wall time since the first engagement was sent.
    rate
        Events trained per second over the last seconds.
    impressions
        Impressions among the trained events.
    pending
        Engagements sent and not accounted for; at the end, records in the log beyond the trainer's committed positions,
        and impressions that wait for labels.
    waiting
        Impressions that wait in the trainer for their last label.
    lag_records, lag_seconds
        Records not trained yet; age of the oldest of them.
    watermark, first_ts
        Event time, epoch ms: the newest trained, and the first of the data set.
    speed
        Event time over wall time, in the last seconds.
    recall, recent
        Live prequential recall over the whole run, and over the last 2,000 queries.
    probes
        Seconds from sending to the first answer that held the item, one per probe.
    freshness
        Quantiles 0.5 and 0.99 of the server's own histogram.
    audit
        The last entries of the audit trail.
    """

    data: str = ""
    log: str = "redis"
    phase: str = "starting"
    wanted: int = 0
    produced: int = 0
    sent_all: bool = False
    trained: int = 0
    impressions: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    waiting: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    lag_records: int = 0
    lag_seconds: float = 0.0
    loss: float = 0.0
    watermark: int = 0
    first_ts: int = 0
    speed: float = 0.0
    recall: Recall = field(default_factory=dict)
    recent: Recall = field(default_factory=dict)
    measured: int = 0
    unmeasured: int = 0
    scored_share: float = 0.0
    index: IndexFigures = field(default_factory=IndexFigures)
    probes: list[float] = field(default_factory=list)
    unanswered_probes: int = 0
    freshness: tuple[float, float] | None = None
    alarms: int = 0
    audit: deque[AuditEntry] = field(default_factory=lambda: deque(maxlen=6))

    @property
    def accounted(self) -> int:
        """Engagements that were trained, dead-lettered or dropped."""
        return self.trained + self.dead_lettered + sum(self.dropped.values())

    @property
    def replay_speed(self) -> float:
        """Event time over wall time of the whole run."""
        return (self.watermark - self.first_ts) / 1000 / self.seconds if self.seconds and self.watermark else 0.0

    @property
    def events_per_second(self) -> float:
        """Engagements accounted for per second of wall time, over the whole run."""
        return self.accounted / self.seconds if self.seconds else 0.0

    def probed(self) -> tuple[float, float] | None:
        """Return the quantiles 0.5 and 0.99 of the probes, seconds; None without any."""
        if not self.probes:
            return None
        p50, p99 = np.quantile(self.probes, [0.5, 0.99])
        return float(p50), float(p99)
