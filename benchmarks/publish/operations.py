"""What one operation on a published version costs: leader's step (encode, place, write), mirror, bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.churn.planted_data import NOW, PlantedData
from benchmarks.publish.version import RULES, Publication
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.store.writer import IndexStore
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.messages import Feed, FeedItem, StateDelta

# operations that are written at once, and one by one
_MANY, _SINGLE = 2000, 20


class Operations:
    """A leader and a mirror of a publication, and new items to work with."""

    def __init__(self, publication: Publication, world: PlantedData, store: IndexStore) -> None:
        self._leader, self._mirror = Leader(store, Builder(store, rules=RULES)), publication.mirror
        self._epoch = publication.manifest.epoch
        self._leader.resume()
        self._made = world.new_items(_MANY + 3 * _SINGLE, 0.0)
        self._world = world

    def report(self) -> dict[str, Any]:
        """Milliseconds of a single operation (median), microseconds per item of many at once, and of the mirror's."""
        found: dict[str, Any] = {}
        for name, ends, deleted in (("insert", 0, False), ("change", NOW + 1, False)):
            found[name] = self._both(lambda part, e=ends, d=deleted: self._feed(part, e, deleted=d))
        found["delete"] = {"one_ms": self._single(lambda part: self._feed(part, 0, deleted=True))}
        found["expire"] = {"many_us": 1e6 * self._expire() / _MANY}
        return found

    def _both(self, step: Any) -> dict[str, float]:
        one = self._single(step)
        began = time.perf_counter()
        deltas = step(slice(3 * _SINGLE, None))
        many = time.perf_counter() - began
        began = time.perf_counter()
        for delta in deltas:
            self._mirror.apply_delta(delta)
        mirrored = time.perf_counter() - began
        return {"one_ms": one, "many_us": 1e6 * many / len(deltas), "mirror_us": 1e6 * mirrored / len(deltas)}

    def _single(self, step: Any) -> float:
        times = []
        for number in range(_SINGLE):
            began = time.perf_counter()
            step(slice(number, number + 1))
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times)

    def _feed(self, part: slice, ends: int, *, deleted: bool) -> Sequence[Any]:
        assert self._leader.catalogue is not None
        items = self._world.feed(self._made.select(part), 0, deleted=deleted)
        told = [
            FeedItem(
                i.id, i.row, tokens=i.tokens, features={}, ts=NOW, sent_at=0, expires_at=ends or None, deleted=deleted
            )
            for i in items
        ]
        self._leader.catalogue.apply_feed(Feed(self._epoch, told))
        return self._leader.reconcile()

    def _expire(self) -> float:
        """Seconds until all items whose end has come are out of the index."""
        assert self._leader.catalogue is not None
        none, rows = np.zeros(0, np.int64), np.zeros(0, np.int32)
        self._leader.catalogue.apply_state_delta(
            StateDelta(
                epoch=self._epoch,
                events=0,
                watermark=NOW + 2,
                half_life=0,
                item_rows=rows,
                item_values=np.zeros((0, len(HALF_LIVES)), np.float32),
                item_last=none,
                item_first=none,
                user_rows=rows,
                user_items=np.zeros((0, 4), np.int32),
                user_times=np.zeros((0, 4), np.int64),
                user_tokens=np.zeros((0, 1), np.int32),
            )
        )
        began = time.perf_counter()
        gone = self._leader.reconcile()
        assert len(gone) >= _MANY
        return time.perf_counter() - began
