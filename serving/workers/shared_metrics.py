"""Metrics of all workers of a server: each counts in files that every worker can read, and any of them shows the sums.

The files are those of prometheus-client's multiprocess mode, named after the number of the worker in place of its
process: one that takes the place of another counts on from where that was, so that no counter falls.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from prometheus_client import Counter, Histogram, PlatformCollector, ProcessCollector, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.workers.board import Board


def share_values(folder: Path, worker: int) -> None:
    """Keep the values of metrics that this process makes from now on in files of a folder, under a worker's number."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


class SharedMetrics(ServingMetrics):
    """Metrics of a worker; what is shown are those of all workers.

    Parameters
    ----------
    folder
        As in `share_values`.
    """

    def __init__(self, folder: Path, board: Board) -> None:
        super().__init__()
        self._files = _Files(folder, board, {family.name for family in self.registry.collect()})
        self.registry = CollectorRegistry()  # in place of that of this worker alone
        PlatformCollector(registry=self.registry)
        self.registry.register(self._files)
        self.registry.register(WorkerCollector(board))

    def counted(self, metric: Counter | Histogram) -> list[Metric]:
        """Return what all workers counted."""
        names = {family.name for family in metric.describe()}
        return [family for family in self._files.collect() if family.name in names]


class _Files(Collector):
    """Adds up what the workers counted. Of gauges only those of workers that answer count, as long as one does.

    Parameters
    ----------
    names
        Of the metrics of a server: modules of other roles that are imported make some of their own.
    """

    def __init__(self, folder: Path, board: Board, names: Collection[str]) -> None:
        self._folder, self._board, self._names = folder, board, names

    def collect(self) -> Iterator[Metric]:
        """Read the files."""
        answering = {str(worker) for worker in self._board.accepts()}
        files = [
            str(file)
            for file in self._folder.glob("*.db")
            if not file.name.startswith("gauge_") or file.stem.rpartition("_")[2] in answering
        ]
        families = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        yield from (family for family in families if family.name in self._names)


class WorkerCollector(Collector):
    """What is known of each worker, by its number.

    Examples
    --------
    >>> board = Board(2)
    >>> board.set_process(1, 4711)
    >>> board.say(1, connections=3, version=7, answers=True, ready=True, live=True)
    >>> registry = CollectorRegistry()
    >>> registry.register(WorkerCollector(board))
    >>> [registry.get_sample_value("hsnn_worker_ready", {"worker": worker}) for worker in "01"]
    [0.0, 1.0]
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Read the board, and what the system says of the processes."""
        board, label = self._board, ["worker"]
        ready = GaugeMetricFamily("hsnn_worker_ready", "Whether this worker of the server answers.", labels=label)
        restarts = CounterMetricFamily(
            "hsnn_worker_restarts_total", "Starts of this worker after it had ended by itself.", labels=label
        )
        connections = GaugeMetricFamily("hsnn_worker_connections", "Open connections of this worker.", labels=label)
        version = GaugeMetricFamily(
            "hsnn_worker_index_version", "Version of the index that this worker answers from.", labels=label
        )
        for worker in range(board.workers):
            name = [str(worker)]
            ready.add_metric(name, float(board.is_ready(worker)))
            restarts.add_metric(name, board.restarts(worker))
            connections.add_metric(name, board.connections(worker))
            version.add_metric(name, board.version(worker))
        yield from (ready, restarts, connections, version)
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """Measure the processes: time, memory, files."""
        families: dict[str, Metric] = {}
        for worker in range(self._board.workers):
            pid = self._board.pid(worker)
            if not pid:
                continue
            for family in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                labelled = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    labelled.add_sample(sample.name, {"worker": str(worker)}, sample.value)
        yield from families.values()
