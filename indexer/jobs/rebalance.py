"""Rebalance: find nodes of the version in use that are too full or nearly empty, and have the trainer change them.

Only the trainer changes nodes. When a node is overfull, in the version with its deltas, or too many nodes hold next to
nothing, a command is sent to the log's control topic. The trainer carries it out at its position in the log
(`hsnn.trainer.training.commands`) and takes a snapshot at once, of which the next version is made: one version, one
model. Until then the bound of `hsnn.indexer.assign.capacity` still holds.

A command names the generation of nodes that it is about, so it may be sent again without harm: by a leader that died
before it could store the request, or because the trainer was away. The audit trail is written before the request is
stored: of a leader that died in between there are two entries, never none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.indexer import metrics
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.schema.commands import BoostRates, Rebalance

_log = logging.getLogger(__name__)

STARVED_SHARE = 0.05
"""Share of the mean below which a node is starved; where that is less than one item, a node without items is."""

_MOST_NODES = 64
"""Nodes of each kind that a command names at most, so that it stays small; the next one names others."""


class SendCommand(Protocol):
    """Sends a command to the control topic."""

    def __call__(self, command: BoostRates | Rebalance) -> None:
        """Append a command; it is durable when this returns."""


class BalanceBounds(NamedTuple):
    """When nodes are unbalanced: see `hsnn.indexer.config`."""

    over_mean: float
    floor: int
    starved: float

    @classmethod
    def from_config(cls, config: IndexerConfig) -> BalanceBounds:
        """Make the bounds that a configuration sets."""
        return cls(config.rebalance_over_mean, config.node_floor, config.rebalance_starved)


class UnbalancedNodes(NamedTuple):
    """Nodes to split, fullest first, and to merge away, emptiest first."""

    split: tuple[int, ...]
    merge: tuple[int, ...]


class RebalanceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The last command: the generation and version it was about, when (epoch ms), and whether it was answered."""

    generation: int
    version: int
    at: int
    max_over_mean: float
    answered: bool = False


def find_unbalanced(sizes: NDArray[np.int64], bounds: BalanceBounds) -> UnbalancedNodes:
    """Find the nodes that are out of bounds, by items per node (K,).

    Examples
    --------
    >>> find_unbalanced(np.array([90, 0, 5, 5]), BalanceBounds(over_mean=3.0, floor=64, starved=0.5))
    UnbalancedNodes(split=(0,), merge=())
    >>> find_unbalanced(np.array([50, 0, 5, 5]), BalanceBounds(over_mean=3.0, floor=64, starved=0.2))
    UnbalancedNodes(split=(), merge=(1,))
    """
    mean = sizes.sum() / len(sizes)
    full = np.flatnonzero(sizes > max(bounds.over_mean * mean, bounds.floor))
    # Below one item per node, most nodes are empty whatever the model does: none counts as starved.
    starved = np.flatnonzero(sizes < max(STARVED_SHARE * mean, 1.0)) if mean >= 1 else np.zeros(0, np.int64)
    if len(starved) <= bounds.starved * len(sizes):
        starved = starved[:0]
    split = full[np.argsort(-sizes[full], kind="stable")][:_MOST_NODES]
    merge = starved[np.argsort(sizes[starved], kind="stable")][:_MOST_NODES]
    return UnbalancedNodes(tuple(split.tolist()), tuple(merge.tolist()))


class Rebalancer:
    """The job that commands rebalances.

    Parameters
    ----------
    leader
        Whose index.
    config
        Bounds and pauses.
    audit
        Told of commands and of their results.
    send
        Sends a command to the trainer.
    clock
        Epoch seconds, for tests.
    """

    def __init__(
        self,
        leader: Leader,
        config: IndexerConfig,
        audit: AuditTrail,
        send: SendCommand,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leader, self._store = leader, leader.store
        self._bounds, self._pause = BalanceBounds.from_config(config), config.rebalance_pause
        self._audit, self._send, self._clock = audit, send, clock

    def check(self) -> Rebalance | None:
        """Command a rebalance if a bound is broken, and not twice within the pause; return the command."""
        version_sizes = self._leader.node_sizes()
        if version_sizes is None:
            return None
        number, sizes = version_sizes
        manifest, request = self._store.manifest(number), last_request(self._store)
        if request is not None and not request.answered and manifest.generation != request.generation:
            self._record_answer(request, manifest, sizes)
        nodes = find_unbalanced(sizes, self._bounds)
        paused = request is not None and self._clock() - request.at / 1000 < self._pause
        if paused or not (nodes.split or nodes.merge):
            return None
        check_deadline("before a command is sent")
        return self._command(manifest, sizes, nodes)

    def _command(self, manifest: VersionManifest, sizes: NDArray[np.int64], nodes: UnbalancedNodes) -> Rebalance:
        command = make_command(manifest, nodes, self._leader.watermark, self._bounds.over_mean)
        self._send(command)
        metrics.REBALANCES.inc()
        self._audit.record(
            "action",
            kind="rebalance",
            action="rebalance",
            version=manifest.version,
            split=list(nodes.split),
            merge=list(nodes.merge),
            generation=manifest.generation,
            max_over_mean=_max_over_mean(sizes),
        )
        self._store_request(
            RebalanceRequest(
                generation=manifest.generation,
                version=manifest.version,
                at=round(1000 * self._clock()),
                max_over_mean=_max_over_mean(sizes),
            )
        )
        split, merge = map(len, nodes)
        _log.info("version %d: %d nodes to split, %d to merge; asked the trainer", manifest.version, split, merge)
        return command

    def _record_answer(self, request: RebalanceRequest, manifest: VersionManifest, sizes: NDArray[np.int64]) -> None:
        self._audit.record(
            "outcome",
            kind="rebalance",
            action="rebalance",
            outcome="done",
            version=manifest.version,
            generation=manifest.generation,
            moved=manifest.moved,
            before=request.max_over_mean,
            after=_max_over_mean(sizes),
        )
        self._store_request(msgspec.structs.replace(request, answered=True))

    def _store_request(self, request: RebalanceRequest) -> None:
        self._store.run_script(
            lua_scripts.SET_VALUE,
            keys=(_key(self._store),),
            arguments=(msgspec.json.encode(request),),
            purpose="note of a rebalance",
        )


def make_command(manifest: VersionManifest, nodes: UnbalancedNodes, watermark: int, over: float) -> Rebalance:
    """Make the command about nodes of a version, with the watermark (epoch ms) as its event time."""
    return Rebalance(
        ts=max(watermark, 0),
        generation=manifest.generation,
        version=manifest.version,
        split=nodes.split,
        merge=nodes.merge,
        over=over,
        under=STARVED_SHARE,
    )


def last_request(reader: IndexReader) -> RebalanceRequest | None:
    """Read the last request."""
    blob: Any = reader.redis.get(_key(reader))
    return None if blob is None else msgspec.json.decode(blob, type=RebalanceRequest)


def _max_over_mean(sizes: NDArray[np.int64]) -> float:
    return round(float(sizes.max(initial=0) / max(sizes.mean(), 1e-9)), 2)


def _key(reader: IndexReader) -> str:
    return reader.key("rebalance")
