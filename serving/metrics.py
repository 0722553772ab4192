"""Prometheus metrics of the server, in a registry of its own: metrics of other processes stay out of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import Metric

from hsnn.indexer.store.reader import damaged_leaves
from hsnn.monitoring.metrics import CLOCK_AHEAD_TEXT, FRESHNESS_BUCKETS, REQUEST_BUCKETS, SCORED_BUCKETS


class ServingMetrics:
    """Metrics of one server.

    Every request counts in several series. Their look-ups (`*_of`) are remembered: prometheus_client's own takes longer
    than the counting.

    Where it has several workers, each has its own, and a gauge shows what its `multiprocess_mode` says of them.

    Attributes
    ----------
    registry : CollectorRegistry
        What ``/metrics`` shows.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(damaged_leaves())
        self.requests = Counter("hsnn_requests_total", "Calls answered.", ["endpoint", "status"], registry=registry)
        self.requests_of = cache(self.requests.labels)
        self.unlogged = Counter(
            "hsnn_answers_unlogged_total",
            "Answers that could not be written to serving.answer_log.",
            registry=registry,
        )
        self.underfilled = Counter(
            "hsnn_answers_underfilled_total", "Answers with fewer items than asked for.", ["mode"], registry=registry
        )
        self.underfilled_of = cache(self.underfilled.labels)
        self.closed = Counter(
            "hsnn_connections_closed_total", "Connections that the server closed.", ["reason"], registry=registry
        )
        self.request_seconds = Histogram(
            "hsnn_request_seconds", "Time of one call.", ["endpoint"], buckets=REQUEST_BUCKETS, registry=registry
        )
        self.request_seconds_of = cache(self.request_seconds.labels)
        self.request_scored = Histogram(
            "hsnn_request_scored",
            "Items scored by the item level per query.",
            ["mode"],
            buckets=SCORED_BUCKETS,
            registry=registry,
        )
        self.request_scored_of = cache(self.request_scored.labels)
        self.request_dots = Histogram(
            "hsnn_request_dots",
            "Candidates whose dot product was computed per query, to choose those that were scored.",
            ["mode"],
            buckets=SCORED_BUCKETS,
            registry=registry,
        )
        self.request_dots_of = cache(self.request_dots.labels)
        self.candidates = Counter(
            "hsnn_candidates_total", "Scored items by the source that they came from.", ["source"], registry=registry
        )
        self.candidates_of = cache(self.candidates.labels)
        self.arm_seconds = Histogram(
            "hsnn_arm_seconds",
            "Time of one answer by an arm of serving.experiment, given (served) or unseen (shadow).",
            ["arm", "role"],
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.shadow_items = Counter(
            "hsnn_shadow_items_total",
            "Items of unseen answers that the given answer has (shared) or lacks (other).",
            ["arm", "items"],
            registry=registry,
        )
        self.shadows_passed_over = Counter(
            "hsnn_shadows_passed_over_total",
            "Requests that a shadow did not answer.",
            ["arm", "reason"],
            registry=registry,
        )
        self.arm_fallbacks = Counter(
            "hsnn_arm_fallbacks_total",
            "Answers of the server's own index in place of an arm's, which is missing or stale.",
            ["arm", "reason"],
            registry=registry,
        )
        self.arm_version = Gauge(
            "hsnn_arm_index_version",
            "Version of the index of another loop that answers for an arm.",
            ["index"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.arm_items = Gauge(
            "hsnn_arm_index_items",
            "Retrievable items of the index of another loop.",
            ["index"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.arm_watermark = Gauge(
            "hsnn_arm_index_watermark_seconds",
            "Event time up to which states of the index of another loop are known.",
            ["index"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.ingested = Counter(
            "hsnn_ingested_events_total", "Events over HTTP that are in the log.", ["topic"], registry=registry
        )
        self.ingest_failures = Counter(
            "hsnn_ingest_failures_total", "Calls whose events the log did not take.", registry=registry
        )
        self.ingest_waiting = Gauge(
            "hsnn_ingest_waiting_events",
            "Events over HTTP that wait for the log.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.ingest_seconds = Histogram(
            "hsnn_ingest_append_seconds",
            "Time of one durable append to the log.",
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.freshness = Histogram(
            "hsnn_freshness_seconds",
            "Seconds from the sending of a new item by its producer until this server can return it.",
            buckets=FRESHNESS_BUCKETS,
            registry=registry,
        )
        self.version = Gauge(
            "hsnn_index_version",
            "Version of the index that answers.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.items = Gauge(
            "hsnn_index_items",
            "Retrievable items.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.nodes = Gauge(
            "hsnn_index_nodes",
            "Nodes of the learned level.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.index_share = Gauge(
            "hsnn_index_share",
            "Share of the items that the index yields per query.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.watermark = Gauge(
            "hsnn_mirror_watermark_seconds",
            "Event time up to which states are known.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.clock_ahead = Gauge(
            "hsnn_clock_ahead_seconds",
            CLOCK_AHEAD_TEXT,
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.expiry_held = Gauge(
            "hsnn_quiet_ends_held_items",
            "Items that end at once while no event comes and are held; 0: none.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.deltas = Counter("hsnn_mirror_deltas_total", "Deltas applied.", ["kind"], registry=registry)
        self.loads = Counter("hsnn_mirror_loads_total", "Versions loaded.", ["extent"], registry=registry)
        self.unreadable = Counter(
            "hsnn_mirror_unreadable_total",
            "Stream entries that could not be read and were passed over.",
            registry=registry,
        )

    def counted(self, metric: Counter | Histogram) -> Iterable[Metric]:
        """Return what was counted of a metric, by all workers of the server."""
        return metric.collect()
