"""The trainer's part, played by a thread that is never killed: items come and go, and now and then a snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import TypeVar

import numpy as np
from redis.exceptions import RedisError

from benchmarks.churn.planted_data import Block, World, joined, name_of
from hsnn.streaming.redis.client import Redis
from hsnn.trainer.publish.redis_writer import Outbox

_STEP, _PAUSE = 20, 0.05
_SNAPSHOT_EVERY = 5.0
_Given = TypeVar("_Given")


class Feed(Thread):
    """Replaces the oldest items, until `end`; what Redis did not take is sent again, as a trainer does.

    Attributes
    ----------
    sent : Block
        All items so far, the oldest `gone` of them deleted again.
    snapshots : int
    """

    def __init__(self, world: World, redis: Redis, items: int) -> None:
        super().__init__(name="feed", daemon=True)
        self._world, self._outbox = world, Outbox(redis)
        self._blocks, self.gone = [world.arrivals(items, 0.0)], 0
        world.fit(self._blocks[0].vectors)
        self._ended, self._published = Event(), 0.0
        self.snapshots = 0
        self.error: Exception | None = None
        self._snapshot()

    @property
    def alive(self) -> set[str]:
        """Ids of the items that must be in the index, and no others."""
        return {name_of(number) for number in self._all().numbers[self.gone :].tolist()}

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
        """Feed no more."""
        self._ended.set()
        self.join()

    def _replace(self) -> None:
        now = int(time.time() * 1000)
        new, every = self._world.arrivals(_STEP, 0.5), self._all()
        old = every.some(slice(self.gone, self.gone + _STEP))
        entries = self._world.feed(old, now, deleted=True) + self._world.feed(new, now, deleted=False)
        self._insist(lambda: self._outbox.feed(entries))
        self._blocks = [every, new]
        self.gone += _STEP

    def _snapshot(self) -> None:
        every = self._all()
        number = self._insist(self._outbox.next_snapshot)
        outbox = self._outbox
        manifest = {
            "snapshot": number,
            "epoch": outbox.epoch,
            "checkpoint": "planted",
            "state_id": outbox.state_id,
            "feed_id": outbox.feed_id,
        }
        snapshot = self._world.snapshot(manifest, every, np.arange(len(every.numbers)) < self.gone)
        self._insist(lambda: self._outbox.snapshot(snapshot))
        self._published = time.monotonic()
        self.snapshots += 1

    def _all(self) -> Block:
        return joined(self._blocks)

    def _insist(self, send: Callable[[], _Given]) -> _Given:
        while True:
            try:
                return send()
            except RedisError:
                time.sleep(_PAUSE)
