"""Publish models that are broken, through a real leader and a real Redis, and measure how long each is in use.

First through the gate, which is to refuse them; then without it, so that they are served until live queries tell.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.indexer.assign.assigner import ItemEncoder, snapshot_encoder
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.build.version_gate import VersionGate
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.flip_watch import FlipWatch
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.jobs.scheduled.flips import EVERY as FLIPS_EVERY
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.publish_hold import current_hold, lift_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import NotifyConfig
from hsnn.monitoring.notify import Notifier
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.redis.client import Redis, connect
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.nearest_points import KeptAssignment
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.snapshot_chunks import write_snapshot
from hsnn.trainer.training.learner import Learner

# Factor of the weights: such as a unit that was changed by a thousand would give.
_FACTOR = 1000.0

# Share of the items whose rows lose their numbers.
_LOST = 0.01

# Seconds of the leader's lease: longer than the run.
_LEASE = 3600.0

# State stream entry that does not exist: an hour after the last one, ms.
_AHEAD = 3_600_000

# Live queries per second in all: a quiet shop at `trainer.prequential_share` of its events.
_QUERIES_PER_SECOND = 10.0

# Seconds after which a broken model counts as served for ever.
_GIVEN_UP = 120.0

Damage = Callable[[Snapshot, np.random.Generator], Snapshot]


def scaled_weights(snapshot: Snapshot, rng: np.random.Generator) -> Snapshot:  # noqa: ARG001 - of the contract
    """Multiply every weight."""
    return replace(
        snapshot,
        model={name: a * np.float32(_FACTOR) if a.dtype.kind == "f" else a for name, a in snapshot.model.items()},
    )


def lost_rows(snapshot: Snapshot, rng: np.random.Generator) -> Snapshot:
    """Lose the numbers of some items' embeddings."""
    embeddings = snapshot.items["embeddings"].copy()
    embeddings[rng.random(len(embeddings)) < _LOST] = np.nan
    return replace(snapshot, items=snapshot.items | {"embeddings": embeddings})


def wrong_stamp(snapshot: Snapshot, rng: np.random.Generator) -> Snapshot:  # noqa: ARG001 - of the contract
    """Claim to hold states that are not in the stream yet."""
    ms = int(snapshot.manifest.state_id.partition("-")[0]) + _AHEAD
    return replace(snapshot, manifest=msgspec.structs.replace(snapshot.manifest, state_id=f"{ms}-0"))


DAMAGES: dict[str, Damage] = {
    "weights scaled": scaled_weights,
    "rows lost": lost_rows,
    "wrong state stamp": wrong_stamp,
}
"""What is done to a snapshot."""

SHUFFLED = "nodes shuffled"
"""Damage of the index that is made from a healthy snapshot: whole nodes change places."""


class _ShuffledEncoder(Encoder):
    """Encodes items as the model does, and takes each node for another one."""

    def __init__(self, snapshot: Snapshot, other: NDArray[np.int64]) -> None:
        super().__init__(ModelConfig.model_validate(snapshot.manifest.model), snapshot.model)
        self._other, self._meant = other.astype(np.int32), np.argsort(other)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Find the nodes (n,) that are taken for the nearest ones."""
        return self._other[super().assign(vectors)]

    def assign_again(self, vectors: NDArray[np.float32], kept: KeptAssignment, start: int) -> NDArray[np.int32]:
        """Find the nodes (n,) that are taken for the nearest ones."""
        return self._other[super().assign_again(vectors, kept, start)]

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute squared distances (n, K), those of other nodes."""
        return super().distances(vectors)[:, self._meant]

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Compute squared distances (n,), those to other nodes."""
        return super().distances_to(vectors, self._meant[nodes])


class _Publisher:
    """Publishes snapshots of a learner through a leader, healthy or damaged, and looks after flips.

    Attributes
    ----------
    gated : bool
        Whether versions are checked before the flip to them.
    """

    def __init__(self, redis: Redis, learner: Learner, seed: int) -> None:
        lease = Lease(redis, _LEASE, "bench-drift")
        if not lease.acquire():
            raise RuntimeError("the lease of a new server is taken")
        self._redis, self._learner, self._rng = redis, learner, np.random.default_rng([seed, 13])
        self._store = IndexStore(redis, lease)
        self._audit = AuditTrail(redis, self._store.key("audit"))
        self._gate, self._shuffled, self.gated = VersionGate(self._store.load_version), False, True
        self._leader = Leader(self._store, Builder(self._store, self._encoder, gate=self))  # type: ignore[arg-type]
        self._jobs = IndexJobs(self._leader, IndexerConfig(), self._audit)
        self._flips = FlipWatch(self._leader, self._audit, Notifier(NotifyConfig()))
        self._state = "0-0"

    def check(self, reader: IndexReader, manifest: VersionManifest, snapshot: Snapshot, base: IndexBase) -> None:
        """Check a version as the gate does, while there is one."""
        if self.gated:
            self._gate.check(reader, manifest, snapshot, base)

    def write_state(self) -> None:
        """Write the changed states, as the trainer does."""
        entry = self._redis.xadd(self._store.key("state"), {b"d": self._learner.delta(1).encode()})
        self._state = str(entry.decode())

    def publish(self, damage: str = "") -> dict[str, Any]:
        """Publish the learner's model with a damage of `DAMAGES` or `SHUFFLED`; none: as it is."""
        number = int(self._redis.incr(self._store.key("snapshot_number")))
        snapshot = make_snapshot(self._learner, SnapshotOrigin(number, 1, state_id=self._state))
        self._shuffled = damage == SHUFFLED
        planted = DAMAGES[damage](snapshot, self._rng) if damage in DAMAGES else snapshot
        write_snapshot(self._redis, planted)
        self._redis.xadd(self._store.key("snapshots"), {b"n": number})
        began, entries = time.monotonic(), len(self._audit.read())
        made = self._jobs.refresh()
        refused = [entry for entry in self._audit.read()[entries:] if entry.event == "gate"]
        return {
            "seconds": time.monotonic() - began,
            "served": made is not None and made.snapshot == number and self._store.current() == made.version,
            "reason": refused[-1].detail["reason"] if refused else "",
        }

    def served_for(self, damage: str) -> dict[str, Any]:
        """Publish a damaged model without a gate after a healthy one, and count the seconds that it is served for.

        Live queries come at a steady rate, of which the new version answers as many as popularity, half of those of
        the version before it. The clock is that of the queries: nothing waits.

        Returns
        -------
        dict
            ``seconds`` by that clock (infinite where nothing happens within two minutes), ``work``, the wall seconds
            that all looks took, and ``reason``.
        """
        self.gated = False
        versions = []
        for name in ("", damage):
            self.publish(name)
            versions.append(self._store.current())
        healthy, bad = versions
        seconds, worked = 0.0, 0.0
        while seconds < _GIVEN_UP:
            seconds += FLIPS_EVERY
            asked = round(_QUERIES_PER_SECOND * seconds)
            recalls = {healthy: (1000, 300, 150), bad: (asked, round(0.15 * asked), round(0.15 * asked))}
            self._redis.hset(self._store.key("progress"), "by_version", msgspec.json.encode(recalls))
            began = time.monotonic()
            returned = self._flips.check()
            worked += time.monotonic() - began
            if returned is not None:
                break
        back = self._store.current() == healthy
        hold = current_hold(self._store)
        lift_hold(self._store)
        return {
            "seconds": seconds if back else math.inf,
            "work": worked,
            "reason": hold.reason if hold else "",
        }

    def _encoder(self, snapshot: Snapshot) -> ItemEncoder:
        if not self._shuffled:
            return snapshot_encoder(snapshot)
        nodes = ModelConfig.model_validate(snapshot.manifest.model).leaves
        return _ShuffledEncoder(snapshot, self._rng.permutation(nodes))


def bad_models(data: Dataset, config: TrainerConfig, events: int, seed: int) -> dict[str, dict[str, Any]]:
    """Learn a stream, publish its model, then damaged ones, then the healthy one again; then the same without a gate.

    Returns
    -------
    dict
        By damage and for ``none``: ``seconds`` from the snapshot in Redis to the decision, whether it was ``served``,
        and the ``reason`` in the audit trail. By damage also ``rollback``: `_Publisher.served_for` without a gate.
    """
    learner, before, published = Learner(config), 0, False
    with EmbeddedRedis() as server:
        publisher = _Publisher(connect(server.url), learner, seed)
        for batch in data.batches(512, join_config(config)):
            if before >= events:
                break
            learner.train(learner.prepare(batch))
            before += len(batch.engagements)
            if not published and before >= events // 2 and learner.network.seeded:
                publisher.write_state()
                publisher.publish()
                published = True
        publisher.write_state()
        results = {name: publisher.publish(name) for name in (*DAMAGES, SHUFFLED)}
        results["none"] = publisher.publish()
        for name in (*DAMAGES, SHUFFLED):
            results[name]["rollback"] = publisher.served_for(name)
    return results
