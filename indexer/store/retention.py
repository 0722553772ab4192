"""Shelves: which snapshots and versions there are in Redis, whole or half-built, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hsnn.indexer.errors import SnapshotGoneError, VersionGoneError
from hsnn.indexer.store import lua_scripts, streams
from hsnn.indexer.store.fenced_writer import FencedWriter
from hsnn.indexer.store.shards import Part, parts_of
from hsnn.trainer.messages import Snapshot, SnapshotManifest

_LOOK_BACK = 16  # a publisher that slept through this many versions may leave its half-built one behind
_REMOVED_AT_ONCE = 1000


class Shelves(FencedWriter):
    """Finds and removes; with a lease."""

    def newest_snapshot(self) -> SnapshotManifest | None:
        """Manifest of the snapshot announced last that still exists."""
        announced: Any = self.redis.xrevrange(self.key("snapshots"), count=16)
        for _, fields in announced:
            blob: Any = self.redis.hget(self.key("snapshot", int(fields[b"n"])), "manifest")
            if blob is not None:
                return msgspec.json.decode(blob, type=SnapshotManifest)
        return None

    def load_snapshot(self, number: int) -> Snapshot:
        """Whole snapshot.

        Raises
        ------
        SnapshotGoneError
            It was never written or already removed.
        """
        fields: Any = self.redis.hgetall(self.key("snapshot", number))
        if b"manifest" not in fields:
            raise self._no_snapshot(number)
        return Snapshot.decode(fields)

    def snapshots(self) -> list[int]:
        """List the snapshots in Redis, by number."""
        announced: Any = self.redis.xrange(self.key("snapshots"))
        numbers = sorted(int(fields[b"n"]) for _, fields in announced)
        if not numbers:
            return []
        names = {number: self.key("snapshot", number) for number in _between(numbers[0] - _LOOK_BACK, numbers[-1])}
        return self._existing(names)

    def half_built(self) -> list[int]:
        """List versions that exist in part but were never published: a publisher died, or is still at work."""
        published = self.versions()
        newest: Any = self.redis.get(self.key("version", "counter"))
        numbers = _between(min(published, default=1) - _LOOK_BACK, int(newest or 0))
        found = set(self._existing({number: self.key("version", number) for number in numbers}))
        for shard in self.covered:
            found |= set(self._existing({number: Part(number, shard).head for number in numbers}))
        return sorted(found - set(published))

    def drop_version(self, number: int) -> None:
        """Remove a version that is not current, whole or half-built, from all shards; readers see it go first.

        Raises
        ------
        InUseError
            Readers use it.
        FencedError
            The lease is lost; what was not removed yet is left to the next leader.
        """
        nodes = self._nodes(number)
        what = f"removal of version {number}"
        self._drop([self.key("version", number)], str(number), what)
        for part in parts_of(number, self.covered):
            names = [*part.all_leaves(nodes), part.items, part.ends, part.deltas, part.head]
            for start in range(0, len(names), _REMOVED_AT_ONCE):
                self.write(lua_scripts.REMOVE, names[start : start + _REMOVED_AT_ONCE], (), what, part.shard)

    def drop_snapshot(self, number: int) -> None:
        """Remove a snapshot; versions made from it have their own copy."""
        self._drop([self.key("snapshot", number)], "", f"removal of snapshot {number}")

    def forget_announcements(self, oldest: int) -> None:
        """Shorten the stream of announced snapshots to those from number `oldest` on."""
        announced: Any = self.redis.xrange(self.key("snapshots"))
        kept = [id_ for id_, fields in announced if int(fields[b"n"]) >= oldest]
        if kept:
            self.redis.xtrim(self.key("snapshots"), minid=kept[0].decode(), approximate=False)

    def trim_sources(self) -> None:
        """Shorten the trainer's state and feed streams to what a reader of any kept version may still need."""
        blobs: list[Any] = [self.redis.hget(self.key("version", number), "manifest") for number in self.versions()]
        sources = [msgspec.json.decode(blob, type=SnapshotManifest) for blob in blobs if blob is not None]
        if sources:
            self._trim("state", [source.state_id for source in sources])
            self._trim("feed", [source.feed_id for source in sources])

    def _nodes(self, number: int) -> int:
        """Leaves that a version may have: by any of its heads, or by its manifest."""
        heads: list[Any] = [self.redis.hget(part.head, "nodes") for part in parts_of(number, self.covered)]
        try:
            known = self.manifest(number).nodes
        except VersionGoneError:
            known = 0
        return max(known, *(int(head or 0) for head in heads))

    def _trim(self, stream: str, needed: Sequence[str]) -> None:
        self.redis.xtrim(self.key(stream), minid=min(needed, key=streams.order), approximate=True)

    def _existing(self, names: dict[int, str]) -> list[int]:
        pipeline = self.redis.pipeline(transaction=False)
        for name in names.values():
            pipeline.exists(name)
        return [number for number, exists in zip(names, pipeline.execute(), strict=True) if exists]

    def _drop(self, names: Sequence[str], number: str, what: str) -> None:
        self.write(lua_scripts.DROP, (self.key("current"), self.key("versions"), *names), (number,), what)

    def _no_snapshot(self, number: int) -> SnapshotGoneError:
        return SnapshotGoneError(f"snapshot {number} is not in Redis; there are {self.snapshots() or 'none'}")


def _between(first: int, last: int) -> range:
    return range(max(first, 0), last + 1)
