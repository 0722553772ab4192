"""Rebalance: look at how full the nodes of the version in use are, and ask the trainer for better ones.

Only the trainer changes nodes. So a node that has become overfull, by the version and its deltas, or too many that hold
next to nothing lead to a command in the log's control topic. The trainer carries it out at its place in the log
(`hsnn.trainer.training.commands`), takes a snapshot at once, and the next version is made of it: one version, one
model. Until then the bound of `hsnn.indexer.assign.capacity` holds all the same.

A command names the generation of nodes that was looked at, so it may be sent again without harm: by a leader that died
before it could note it, or because the trainer was away. The audit is told before the note is made: of a leader that
died between the two there are two entries, never none.
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
from hsnn.indexer.deadline import safe_point
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import VersionManifest
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.schema.commands import Rebalance

_log = logging.getLogger(__name__)
STARVED = 0.05
"""A node with less than so many times the mean is starved; where the mean is small, one without items."""
_NAMED = 64
"""Nodes that a command names at most of each kind."""


class Commands(Protocol):
    """Takes commands to the control topic."""

    def __call__(self, command: Rebalance) -> None:
        """Append a command; it is safe when this returns."""


class Bounds(NamedTuple):
    """When nodes are out of balance: see `hsnn.indexer.config`."""

    over_mean: float
    floor: int
    starved: float

    @classmethod
    def of(cls, config: IndexerConfig) -> Bounds:
        """Bounds that a configuration sets."""
        return cls(config.rebalance_over_mean, config.node_floor, config.rebalance_starved)


class Broken(NamedTuple):
    """Nodes to split, fullest first, and to merge away, emptiest first."""

    split: tuple[int, ...]
    merge: tuple[int, ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The last command: the generation and version it was about, when (epoch ms), and whether it was answered."""

    generation: int
    version: int
    at: int
    max_over_mean: float
    answered: bool = False


def broken(sizes: NDArray[np.int64], bounds: Bounds) -> Broken:
    """Nodes that are out of bounds, by items per node (K,).

    Examples
    --------
    >>> broken(np.array([90, 0, 5, 5]), Bounds(over_mean=3.0, floor=64, starved=0.5))
    Broken(split=(0,), merge=())
    >>> broken(np.array([50, 0, 5, 5]), Bounds(over_mean=3.0, floor=64, starved=0.2))
    Broken(split=(), merge=(1,))
    """
    mean = sizes.sum() / len(sizes)
    full = np.flatnonzero(sizes > max(bounds.over_mean * mean, bounds.floor))
    starved = np.flatnonzero(sizes < max(STARVED * mean, 1.0)) if mean >= 1 else np.zeros(0, np.int64)
    if len(starved) <= bounds.starved * len(sizes):
        starved = starved[:0]
    split = full[np.argsort(-sizes[full], kind="stable")][:_NAMED]
    merge = starved[np.argsort(sizes[starved], kind="stable")][:_NAMED]
    return Broken(tuple(split.tolist()), tuple(merge.tolist()))


class Rebalancer:
    """The job.

    Parameters
    ----------
    leader
        Whose index.
    config
        Bounds and pauses.
    audit
        Told of what was asked for, and what came of it.
    send
        Takes the command to the trainer.
    """

    def __init__(
        self,
        leader: Leader,
        config: IndexerConfig,
        audit: AuditTrail,
        send: Commands,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._leader, self._store = leader, leader.store
        self._bounds, self._pause = Bounds.of(config), config.rebalance_pause
        self._audit, self._send, self._clock = audit, send, clock

    def look(self) -> Rebalance | None:
        """Ask for a rebalance if a bound is broken, and not twice within the pause; return what was asked for."""
        seen = self._leader.sizes()
        if seen is None:
            return None
        number, sizes = seen
        manifest, asked = self._store.manifest(number), last_asked(self._store)
        if asked is not None and not asked.answered and manifest.generation != asked.generation:
            self._answered(asked, manifest, sizes)
        found = broken(sizes, self._bounds)
        waits = asked is not None and self._clock() - asked.at / 1000 < self._pause
        if waits or not (found.split or found.merge):
            return None
        safe_point("before a command is sent")
        return self._ask(manifest, sizes, found)

    def _ask(self, manifest: VersionManifest, sizes: NDArray[np.int64], found: Broken) -> Rebalance:
        command = command_of(manifest, found, self._leader.watermark, self._bounds.over_mean)
        self._send(command)
        metrics.REBALANCES.inc()
        self._audit.record(
            "action",
            kind="rebalance",
            action="rebalance",
            version=manifest.version,
            split=list(found.split),
            merge=list(found.merge),
            generation=manifest.generation,
            max_over_mean=_over_mean(sizes),
        )
        self._note(
            Asked(
                generation=manifest.generation,
                version=manifest.version,
                at=round(1000 * self._clock()),
                max_over_mean=_over_mean(sizes),
            )
        )
        _log.info("version %d: %d nodes to split, %d to merge; asked the trainer", manifest.version, *map(len, found))
        return command

    def _answered(self, asked: Asked, manifest: VersionManifest, sizes: NDArray[np.int64]) -> None:
        self._audit.record(
            "outcome",
            kind="rebalance",
            action="rebalance",
            outcome="done",
            version=manifest.version,
            generation=manifest.generation,
            moved=manifest.moved,
            before=asked.max_over_mean,
            after=_over_mean(sizes),
        )
        self._note(msgspec.structs.replace(asked, answered=True))

    def _note(self, asked: Asked) -> None:
        self._store.write(lua_scripts.KEEP, (_key(self._store),), (msgspec.json.encode(asked),), "note of a rebalance")


def command_of(manifest: VersionManifest, found: Broken, watermark: int, over: float) -> Rebalance:
    """Write a command about the nodes of a version, to be met at a watermark (epoch ms)."""
    return Rebalance(
        ts=max(watermark, 0),
        generation=manifest.generation,
        version=manifest.version,
        split=found.split,
        merge=found.merge,
        over=over,
        under=STARVED,
    )


def last_asked(reader: IndexReader) -> Asked | None:
    """Read what was asked for last."""
    blob: Any = reader.redis.get(_key(reader))
    return None if blob is None else msgspec.json.decode(blob, type=Asked)


def _over_mean(sizes: NDArray[np.int64]) -> float:
    return round(float(sizes.max(initial=0) / max(sizes.mean(), 1e-9)), 2)


def _key(reader: IndexReader) -> str:
    return reader.key("rebalance")
