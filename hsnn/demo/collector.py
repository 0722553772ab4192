"""Collect the figures of a run from Redis, the producer's file and the metrics pages."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from hsnn.demo.figures import Figures, IndexFigures
from hsnn.monitoring.audit import AuditEntry
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

# Seconds between two readings of the metrics pages: each costs the scraped process a few milliseconds.
_PAGES_EVERY = 0.5

# Seconds that the replay speed is a mean over.
_SPEED_SECONDS = 5.0

Samples = dict[str, float]
"""Values of a metrics page by ``name`` or ``name{le}``."""


class FigureCollector:
    """Update `figures` from Redis, the producer's file and two metrics pages.

    Parameters
    ----------
    redis
        Where trainer and scheduler publish.
    produced
        JSON file with the producer's counts.
    scheduler, server
        Base URLs of scheduler and server.
    """

    def __init__(self, figures: Figures, redis: Redis, *, produced: Path, scheduler: str, server: str) -> None:
        self.figures = figures
        self._redis, self._produced = redis, produced
        self._scheduler, self._server = scheduler, server
        self._http = httpx.Client(timeout=1.0)
        self._pages_at = 0.0
        self._audit_id = "0-0"
        self._started: float | None = None
        self._watermarks: deque[tuple[float, int]] = deque()

    def refresh(self, pages: bool = False) -> None:
        """Read all sources; the metrics pages twice a second, or now if `pages`."""
        self._read_produced()
        self._read_progress()
        self._read_audit()
        now = time.monotonic()
        if pages or now - self._pages_at >= _PAGES_EVERY:
            self._pages_at = now
            self._read_pages()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _read_produced(self) -> None:
        figures = self.figures
        if not figures.sent_all and self._produced.exists():
            found = json.loads(self._produced.read_text())
            figures.produced, figures.sent_all = found["engagements"], found["finished"]
            if self._started is None and figures.produced:
                self._started = time.monotonic() - found["seconds"]

    def _read_progress(self) -> None:
        fields: Any = self._redis.hgetall(key("progress"))
        figures, found = self.figures, decode_hash(fields)
        if not found:
            return
        known = figures.accounted
        figures.waiting = found.get("pending", 0)
        for name in (
            "trained",
            "impressions",
            "dead_lettered",
            "dropped",
            "watermark",
            "lag_records",
            "lag_seconds",
            "loss",
            "measured",
            "unmeasured",
            "recall",
            "recent",
            "scored_share",
        ):
            setattr(figures, name, found.get(name, getattr(figures, name)))
        figures.rate = found.get("events_per_second", 0.0)
        figures.pending = max(figures.produced - figures.accounted, 0)
        if figures.accounted > known and self._started is not None:
            figures.seconds = time.monotonic() - self._started
        self._update_speed()

    def _update_speed(self) -> None:
        now, figures = time.monotonic(), self.figures
        self._watermarks.append((now, figures.watermark))
        while now - self._watermarks[0][0] > _SPEED_SECONDS:
            self._watermarks.popleft()
        (start, before), (end, after) = self._watermarks[0], self._watermarks[-1]
        figures.speed = (after - before) / 1000 / (end - start) if before and end > start else 0.0

    def _read_audit(self) -> None:
        entries: Any = self._redis.xrange(key("audit"), f"({self._audit_id}")
        for entry_id, fields in entries:
            self._audit_id = entry_id.decode()
            entry = msgspec.json.decode(fields[b"d"], type=AuditEntry)
            self.figures.audit.append(entry)
            self.figures.alarms += entry.event == "alarm"

    def _read_pages(self) -> None:
        figures = self.figures
        if found := self._page(self._scheduler):
            figures.index = index_figures(found)
        if found := self._page(self._server):
            figures.index.version = int(found.get("hsnn_index_version", figures.index.version))
            p50, p99 = (quantile(found, "hsnn_freshness_seconds", q) for q in (0.5, 0.99))
            figures.freshness = None if p50 is None or p99 is None else (p50, p99)

    def _page(self, url: str) -> Samples:
        try:
            response = self._http.get(f"{url}/metrics")
            return samples(response.text) if response.status_code == httpx.codes.OK else {}
        except httpx.HTTPError:
            return {}  # busy or not up yet: read again next time


def decode_hash(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Decode a Redis hash whose values are JSON.

    Examples
    --------
    >>> decode_hash({b"trained": b"7", b"loss": b"5.5", b"recall": b"{}"})
    {'trained': 7, 'loss': 5.5, 'recall': {}}
    """
    return {name.decode(): json.loads(value) for name, value in fields.items()}


def samples(page: str, prefixes: Iterable[str] = ("hsnn_index", "hsnn_items", "hsnn_freshness")) -> Samples:
    r"""Parse a metrics page; keep the metrics with these prefixes.

    Examples
    --------
    >>> samples('hsnn_index_items 7.0\nprocess_start_time_seconds 1.0\n')
    {'hsnn_index_items': 7.0}
    """
    lines = [line for line in page.splitlines() if line.removeprefix("# TYPE ").startswith(tuple(prefixes))]
    found = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            bound = sample.labels.get("le")
            found[sample.name if bound is None else f"{sample.name}{{{bound}}}"] = sample.value
    return found


def index_figures(found: Samples) -> IndexFigures:
    """Build the index figures from the scheduler's page."""
    return IndexFigures(
        items=int(found.get("hsnn_index_items", 0)),
        new=int(found.get("hsnn_items_inserted_total", 0)),
        expired=int(found.get("hsnn_items_expired_total", 0)),
        nodes=int(found.get("hsnn_index_nodes", 0)),
        max_over_mean=found.get("hsnn_index_max_over_mean", 0.0),
        dead=int(found.get("hsnn_index_dead_nodes", 0)),
        version=int(found.get("hsnn_index_version", 0)),
    )


def quantile(found: Samples, name: str, q: float) -> float | None:
    """Estimate a quantile of a histogram, linear within its bucket; None without observations.

    Examples
    --------
    >>> quantile({"x_bucket{1.0}": 2.0, "x_bucket{2.0}": 4.0, "x_bucket{+Inf}": 4.0}, "x", 0.75)
    1.5
    """
    prefix = f"{name}_bucket{{"
    buckets = sorted((float(bound[len(prefix) : -1]), n) for bound, n in found.items() if bound.startswith(prefix))
    if not buckets or buckets[-1][1] == 0:
        return None
    wanted = q * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low
