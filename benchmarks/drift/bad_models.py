"""Publish models that are broken, through a real leader and a real Redis, and measure how long each is in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.build.version_gate import VersionGate
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.redis.client import connect
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.messages import Snapshot
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


class _ShufflingGate(VersionGate):
    """Judges versions; those made while `shuffling` is set have their nodes exchanged."""

    shuffling: np.random.Generator | None = None

    def check(self, reader: IndexReader, manifest: VersionManifest, snapshot: Snapshot, base: IndexBase) -> None:
        """Check a version that is about to be written."""
        if self.shuffling is not None:
            other = self.shuffling.permutation(ModelConfig.model_validate(snapshot.manifest.model).leaves)
            base = replace(base, nodes=np.where(base.nodes >= 0, other[base.nodes], -1).astype(np.int32))
        super().check(reader, manifest, snapshot, base)


def bad_models(data: Dataset, config: TrainerConfig, events: int, seed: int) -> dict[str, dict[str, Any]]:
    """Learn a stream, publish its model, then damaged ones, then the healthy one again.

    Returns
    -------
    dict
        By damage and for ``none``: ``seconds`` from the snapshot in Redis to the decision, whether it was ``served``,
        and the ``reason`` in the audit trail.
    """
    learner, rng = Learner(config), np.random.default_rng([seed, 13])
    before = 0
    with EmbeddedRedis() as server:
        redis = connect(server.url)
        lease = Lease(redis, _LEASE, "bench-drift")
        if not lease.acquire():
            raise RuntimeError("the lease of a new server is taken")
        store = IndexStore(redis, lease)
        audit = AuditTrail(redis, store.key("audit"))
        gate = _ShufflingGate(store.load_version)
        jobs = IndexJobs(Leader(store, Builder(store, gate=gate)), IndexerConfig(), audit)

        def publish(damage: Damage | None) -> dict[str, Any]:
            number = int(redis.incr(store.key("snapshot_number")))
            snapshot = make_snapshot(learner, SnapshotOrigin(number, 1, state_id=state_id))
            planted = snapshot if damage is None else damage(snapshot, rng)
            write_snapshot(redis, planted)
            redis.xadd(store.key("snapshots"), {b"n": number})
            began, entries = time.monotonic(), len(audit.read())
            made = jobs.refresh()
            refused = [entry for entry in audit.read()[entries:] if entry.event == "gate"]
            return {
                "seconds": time.monotonic() - began,
                "served": made is not None and made.snapshot == number and store.current() == made.version,
                "reason": refused[-1].detail["reason"] if refused else "",
            }

        results: dict[str, dict[str, Any]] = {}
        for batch in data.batches(512, join_config(config)):
            if before >= events:
                break
            learner.train(learner.prepare(batch))
            before += len(batch.engagements)
            if not results and before >= events // 2 and learner.network.seeded:
                state_id = _state(learner, redis, store)
                results["first"] = publish(None)
        state_id = _state(learner, redis, store)
        results |= {name: publish(damage) for name, damage in DAMAGES.items()}
        gate.shuffling = rng
        results[SHUFFLED] = publish(None)
        gate.shuffling = None
        results["none"] = publish(None)
        del results["first"]
    return results


def _state(learner: Learner, redis: Any, store: IndexStore) -> str:
    """Write the changed states, as the trainer does; return the entry's id."""
    return str(redis.xadd(store.key("state"), {b"d": learner.delta(1).encode()}).decode())
