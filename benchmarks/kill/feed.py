"""Stand-in for the trainer, a thread that is never killed: feeds new and deleted items, and snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import TypeVar

import numpy as np
from redis.exceptions import RedisError

from benchmarks.churn.planted_data import Block, PlantedData, concatenate, name_of
from hsnn.streaming.redis.client import Redis
from hsnn.trainer.publish.redis_writer import RedisWriter

# items replaced at once
_STEP = 20
# seconds between replacements, and between retries
_PAUSE = 0.05
# seconds
_SNAPSHOT_EVERY = 5.0
_Result = TypeVar("_Result")


class FeedThread(Thread):
    """Replaces the oldest items, until `end`; what Redis did not take is sent again, as a trainer does.

    Attributes
    ----------
    sent : Block
        All items so far, the oldest `gone` of them deleted again.
    snapshots : int
    """

    def __init__(self, world: PlantedData, redis: Redis, items: int) -> None:
        super().__init__(name="feed", daemon=True)
        self._world, self._writer = world, RedisWriter(redis)
        self._blocks, self.deleted = [world.new_items(items, 0.0)], 0
        world.fit(self._blocks[0].vectors)
        self._ended, self._published = Event(), 0.0
        self.snapshots = 0
        self.error: Exception | None = None
        self._snapshot()

    @property
    def alive(self) -> set[str]:
        """Ids of the items that must be in the index, and no others."""
        return {name_of(number) for number in self._all().numbers[self.deleted :].tolist()}

    @property
    def sent(self) -> int:
        """Items announced so far."""
        return len(self._all().numbers)

    def run(self) -> None:
        """Feed until `end`."""
        try:
            while not self._ended.wait(_PAUSE):
                self._replace()
                if time.monotonic() - self._published > _SNAPSHOT_EVERY:
                    self._snapshot()
        except Exception as error:
            self.error = error

    def end(self) -> None:
        """Stop feeding."""
        self._ended.set()
        self.join()

    def _replace(self) -> None:
        now = int(time.time() * 1000)
        new, every = self._world.new_items(_STEP, 0.5), self._all()
        old = every.select(slice(self.deleted, self.deleted + _STEP))
        entries = self._world.feed(old, now, deleted=True) + self._world.feed(new, now, deleted=False)
        self._retry(lambda: self._writer.write_feed(entries))
        self._blocks = [every, new]
        self.deleted += _STEP

    def _snapshot(self) -> None:
        every = self._all()
        number = self._retry(self._writer.next_snapshot)
        writer = self._writer
        manifest = {
            "snapshot": number,
            "epoch": writer.epoch,
            "checkpoint": "planted",
            "state_id": writer.state_id,
            "feed_id": writer.feed_id,
        }
        snapshot = self._world.snapshot(manifest, every, np.arange(len(every.numbers)) < self.deleted)
        self._retry(lambda: self._writer.write_snapshot(snapshot))
        self._published = time.monotonic()
        self.snapshots += 1

    def _all(self) -> Block:
        return concatenate(self._blocks)

    def _retry(self, send: Callable[[], _Result]) -> _Result:
        while True:
            try:
                return send()
            except RedisError:
                time.sleep(_PAUSE)
