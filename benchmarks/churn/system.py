"""hsnn as a competitor: the real scheduler in its own process, an embedded Redis, and a mirror that follows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.churn.memory import needed, resident
from benchmarks.churn.planted_data import Block, PlantedData, concatenate, name_of, user_name
from benchmarks.churn.protocol import CHUNK, Numbers
from hsnn.demo.processes import RoleProcesses
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.health import Health
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.sync.follower import MirrorFollower
from hsnn.streaming.redis.client import connect
from hsnn.trainer.publish.redis_writer import RedisWriter

_IN_FLIGHT = 4 * CHUNK
"""Items that may be on their way to the mirror: replacing goes on meanwhile, as it does when events arrive."""

# seconds until a version must have arrived
_WAIT_SECONDS = 600.0


class HsnnCompetitor:
    """`hsnn schedule` on an embedded Redis-protocol server, fed as a trainer feeds it.

    Parameters
    ----------
    world
    refit
        Whether `settle` publishes a new version with node vectors fitted to the items that are there.
    """

    def __init__(self, world: PlantedData, refit: bool = False) -> None:
        self._world, self._refit = world, refit
        self._before = resident()
        self._folder = tempfile.TemporaryDirectory(prefix="hsnn-churn-")
        self._redis_server = EmbeddedRedis().start()
        self._redis = connect(self._redis_server.url)
        self._writer, self._mirror, self._first = RedisWriter(self._redis), Mirror(), Mirror()
        health = Health("follower")
        self._follower = MirrorFollower(connect(self._redis_server.url), self._mirror, ServingMetrics(), health)
        self._roles = RoleProcesses(Path(self._folder.name), {"OMP_NUM_THREADS": "1"})
        self._limits = RetrievalLimits(max_k=1000, beam=world.config.beam, budget=world.config.budget)
        self._sent: list[Block] = []
        self._deleted = 0
        self._fullest = 0.0

    def build(self, items: Block) -> None:
        """Fit the nodes, publish a snapshot, and wait until the mirror has the version made of it."""
        self._world.fit(items.vectors)
        self._sent = [items]
        options = ["--set", f"redis.url={self._redis_server.url}", "--set", "monitoring.scheduler_port=0"]
        self._roles.start("scheduler", ["schedule", *options])
        self._publish()
        self._follower.start()
        self._until(lambda: self._mirror.loaded)
        before = needed()
        self._first.load_version(IndexReader(self._redis).load_version(self._mirror.version))
        self._before += needed() - before

    def replace(self, gone: Block, new: Block) -> None:
        """Announce both to the scheduler; wait only while too much is on its way."""
        now = int(time.time() * 1000)
        self._writer.write_feed(self._world.feed(gone, now, deleted=True))
        self._writer.write_feed(self._world.feed(new, now, deleted=False))
        self._sent.append(new)
        self._deleted += len(gone.numbers)
        late = self._sent[-1 - _IN_FLIGHT // CHUNK] if len(self._sent) > _IN_FLIGHT // CHUNK + 1 else None
        if late is not None:
            self._until(lambda: self._has(late))
        self._look_at_nodes()

    def wait_until_visible(self) -> None:
        """Wait until the mirror has everything, under a new version if it is to be refitted."""
        self._until(lambda: self._has(self._sent[-1]))
        if self._refit and self._deleted:
            self._world.fit(self._alive().vectors)
            version = self._mirror.version
            self._publish()
            self._until(lambda: self._mirror.version > version)

    def search(self, user: int, k: int) -> Numbers:
        """Numbers (<= k,), best first: one request to the beam search that serves."""
        return self._search(self._mirror, user, k)

    def search_first(self, user: int, k: int) -> Numbers:
        """Answer the same from a mirror of the first version that was never changed."""
        return self._search(self._first, user, k)

    def bytes(self) -> int:
        """Growth of this process (the mirror, and what the follower reads), and what Redis uses."""
        return resident() - self._before + int(self._redis.info("memory")["used_memory"])

    def details(self) -> dict[str, Any]:
        """Node sizes now and the fullest since the last look, freshness, memory of Redis alone."""
        sizes = self._sizes()
        seconds = list(self._follower.freshness.values())
        fullest, self._fullest = self._fullest, 0.0
        config = self._world.config
        return {
            "max_over_mean": float(sizes.max() / sizes.mean()),
            "fullest_over_mean": fullest or None,
            "redis_mb": int(self._redis.info("memory")["used_memory"]) / 1e6,
            "arrival_p99_seconds": float(np.percentile(seconds, 99)) if seconds else None,
            "set": f"{config.leaves} nodes, beam {config.beam}, budget {config.budget}",
        }

    def end(self) -> None:
        """End scheduler, follower and server."""
        self._follower.stop()
        self._roles.end()
        self._redis_server.stop()
        self._folder.cleanup()

    def _publish(self) -> None:
        every = concatenate(self._sent)
        number = self._writer.next_snapshot()
        writer = self._writer
        manifest = {
            "snapshot": number,
            "epoch": writer.epoch,
            "checkpoint": "planted",
            "state_id": writer.state_id,
            "feed_id": writer.feed_id,
        }
        writer.write_snapshot(self._world.snapshot(manifest, every, np.arange(len(every.numbers)) < self._deleted))

    def _search(self, mirror: Mirror, user: int, k: int) -> Numbers:
        answer = retrieve(mirror, [Request(user=user_name(user), k=k)], self._limits)[0]
        return np.array([int(item[1:]) for item in answer.items], np.int64)

    def _alive(self) -> Block:
        return concatenate(self._sent).select(slice(self._deleted, None))

    def _has(self, items: Block) -> bool:
        return self._mirror.is_indexed(name_of(int(items.numbers[-1])))

    def _sizes(self) -> Numbers:
        with self._mirror.reading():
            return self._mirror.state.index.leaves.sizes.copy()

    def _look_at_nodes(self) -> None:
        sizes = self._sizes()
        self._fullest = max(self._fullest, float(sizes.max() / sizes.mean()))

    def _until(self, done: Callable[[], bool]) -> None:
        self._roles.wait_until(done, "the mirror to follow", _WAIT_SECONDS)
