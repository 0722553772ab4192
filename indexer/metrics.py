"""Metrics of the scheduler and of the index."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from hsnn.indexer.store.version import VersionManifest

# Seconds: from a delta of one item to a new version of millions.
_JOB_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)

INSERTED = Counter("hsnn_items_inserted_total", "Items put into the index by a delta.")
EXPIRED = Counter("hsnn_items_expired_total", "Items taken out of the index because they expired or were deleted.")
EXPIRY_HELD = Gauge("hsnn_quiet_ends_held_items", "Items that end at once while no event comes and are held; 0: none.")
ITEMS = Gauge("hsnn_index_items", "Items in the index.")
NODES = Gauge("hsnn_index_nodes", "Nodes of the learned level.")
MAX_OVER_MEAN = Gauge("hsnn_index_max_over_mean", "Items of the fullest node over the mean of all nodes.")
DEAD_NODES = Gauge("hsnn_index_dead_nodes", "Nodes without items.")
VERSION = Gauge("hsnn_index_version", "Version of the index that readers use.")
LEADING = Gauge("hsnn_scheduler_leading", "1 while this scheduler holds the lease, else 0.")
UNREADABLE = Counter("hsnn_entries_unreadable_total", "Stream entries that could not be decoded and were skipped.")
JOB_RUNS = Counter("hsnn_job_runs_total", "Runs of the scheduler's jobs.", ["job", "outcome"])
JOB_OVERRUNS = Counter("hsnn_job_overruns_total", "Runs that took longer than indexer.job_timeout.", ["job"])
MOVED = Counter("hsnn_items_moved_total", "Items that changed their node, by why.", ["reason"])
MOVED_SHARE = Gauge("hsnn_index_moved_share", "Share of the items that the last refresh took to another node.")
SPILLED = Gauge("hsnn_index_spilled", "Items of the last refresh whose nearest node was full.")
REBALANCES = Counter("hsnn_rebalances_asked_total", "Commands to rebalance that were sent to the trainer.")
SWEPT = Counter("hsnn_items_swept_total", "Items that the rolling sweep checked.")
HELD = Gauge("hsnn_publishing_held", "1 while publishing is held by a person, else 0.")
REFUSED = Counter("hsnn_versions_refused_total", "Versions that the gate refused: damaged, or clearly worse.")
JOB_SECONDS = Histogram("hsnn_job_seconds", "Time a job took.", ["job"], buckets=_JOB_BUCKETS)


def set_index_gauges(version: int, sizes: NDArray[np.int64]) -> None:
    """Set the gauges of a version and of the sizes of its nodes, (K,)."""
    VERSION.set(version)
    ITEMS.set(sizes.sum())
    NODES.set(len(sizes))
    MAX_OVER_MEAN.set(sizes.max(initial=0) / max(sizes.mean(), 1e-9))
    DEAD_NODES.set((sizes == 0).sum())


def set_refresh_gauges(manifest: VersionManifest) -> None:
    """Set the gauges of how many items a new version moved to another node."""
    MOVED.labels("refresh").inc(manifest.moved)
    MOVED_SHARE.set(manifest.moved / max(manifest.common, 1))
    SPILLED.set(manifest.spilled)


def count_moves(reasons: Iterable[str]) -> None:
    """Count items that a delta moved to another node, by its reason."""
    for reason, count in Tally(reasons).items():
        MOVED.labels(reason).inc(count)
