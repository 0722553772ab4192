"""Histogram buckets and metrics that several rooms share; each room defines its own with ``prometheus_client``.

Names are ``hsnn_*`` in base units (seconds, bytes, records); labels have few values, never ids.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge

FRESHNESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds from the sending of an item to its first retrieval: the objective is a few seconds."""

REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds of one request: the objective is tens of milliseconds."""

SCORED_BUCKETS = (10, 25, 50, 100, 150, 250, 500, 1000, 2500, 5000, 10_000, 50_000)
"""Items scored, or multiplied with the user, in one request: tens to whole catalogues."""

CLOCK_AHEAD_TEXT = "How far the wall clock of this process is ahead of that of Redis."
CLOCK_AHEAD = Gauge("hsnn_clock_ahead_seconds", CLOCK_AHEAD_TEXT)
ALARMS = Counter("hsnn_alarms_total", "Alarms raised by detectors.", ["kind"])
