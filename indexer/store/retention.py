"""Retention: which snapshots and versions exist in Redis, published or not, and how they are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hsnn.indexer.errors import SnapshotNotFoundError, VersionNotFoundError
from hsnn.indexer.store import lua_scripts, streams
from hsnn.indexer.store.fenced_writer import FencedWriter
from hsnn.indexer.store.shards import VersionShard, version_shards
from hsnn.trainer.errors import SnapshotDamagedError
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.snapshot_chunks import read_snapshot, remove_chunks, snapshots_with_chunks

# Numbers below the oldest announced one that are looked for, too: a publisher that was paused while so many others were
# published may leave an unfinished one behind.
_LOOK_BACK = 16

# Announcements searched, from the newest back, for a snapshot that still exists.
_ANNOUNCEMENTS = 16

# Keys removed by one script call: Redis serves nobody else meanwhile.
_KEYS_PER_CALL = 1000


class Retention(FencedWriter):
    """Lists snapshots and versions; with a lease, removes them."""

    def newest_snapshot(self) -> SnapshotManifest | None:
        """Read the manifest of the snapshot announced last that still exists."""
        announced: Any = self.redis.xrevrange(self.key("snapshots"), count=_ANNOUNCEMENTS)
        for _, fields in announced:
            blob: Any = self.redis.hget(self.key("snapshot", int(fields[b"n"])), "manifest")
            if blob is not None:
                return msgspec.json.decode(blob, type=SnapshotManifest)
        return None

    def load_snapshot(self, number: int) -> Snapshot:
        """Load a whole snapshot.

        Raises
        ------
        SnapshotNotFoundError
            It was never written or already removed, or is damaged.
        """
        head: Any = self.redis.hgetall(self.key("snapshot", number))
        if b"manifest" not in head:
            raise self._snapshot_not_found(number)
        try:
            return read_snapshot(self.redis, head)
        except SnapshotDamagedError as error:
            raise SnapshotNotFoundError(str(error)) from error

    def snapshots(self) -> list[int]:
        """List the snapshots in Redis, by number."""
        announced: Any = self.redis.xrange(self.key("snapshots"))
        numbers = sorted(int(fields[b"n"]) for _, fields in announced)
        if not numbers:
            return []
        names = {number: self.key("snapshot", number) for number in _between(numbers[0] - _LOOK_BACK, numbers[-1])}
        return self._existing(names)

    def unpublished_versions(self) -> list[int]:
        """List versions that exist in part but were never published: a publisher died, or is still at work."""
        published = self.versions()
        newest: Any = self.redis.get(self.key("version", "counter"))
        numbers = _between(min(published, default=1) - _LOOK_BACK, int(newest or 0))
        existing = set(self._existing({number: self.key("version", number) for number in numbers}))
        for shard in self.covered_shards:
            existing |= set(self._existing({number: VersionShard(number, shard).header for number in numbers}))
        return sorted(existing - set(published))

    def drop_version(self, number: int) -> None:
        """Remove a version that is not current, published or not, from all shards.

        Its hash goes first, by which readers notice.

        Raises
        ------
        VersionInUseError
            Readers use it.
        FencedError
            The lease is lost; what was not removed yet is left to the next leader.
        """
        nodes = self._most_nodes(number)
        purpose = f"removal of version {number}"
        self._drop([self.key("version", number)], str(number), purpose)
        for shard in version_shards(number, self.covered_shards):
            names = [
                *shard.leaf_keys(nodes),
                shard.item_map,
                shard.expiry_set,
                shard.delta_stream,
                shard.header,  # last: as long as it is there, the version is found again and removed completely
            ]
            for start in range(0, len(names), _KEYS_PER_CALL):
                keys = names[start : start + _KEYS_PER_CALL]
                self.run_script(lua_scripts.REMOVE_KEYS, keys=keys, purpose=purpose, shard=shard.shard)

    def drop_snapshot(self, number: int) -> None:
        """Remove the head of a snapshot; versions made from it have a copy, and share its chunks."""
        self._drop([self.key("snapshot", number)], "", f"removal of snapshot {number}")

    def drop_unused_chunks(self) -> list[int]:
        """Remove the chunks that no snapshot and no version names; return the numbers of their snapshots.

        Heads are looked for before versions: a head that is gone cannot be copied any more, and a copy made before is
        found. Newer than the last announced one is what the trainer writes now.
        """
        announced: Any = self.redis.xrevrange(self.key("snapshots"), count=1)
        newest = int(announced[0][1][b"n"]) if announced else 0
        old = [number for number in snapshots_with_chunks(self.redis) if number <= newest]
        unused = sorted(set(old) - set(self._existing({number: self.key("snapshot", number) for number in old})))
        if unused:
            versions = (*self.versions(), *self.unpublished_versions())
            blobs: list[Any] = [self.redis.hget(self.key("version", number), "manifest") for number in versions]
            named = {msgspec.json.decode(blob, type=SnapshotManifest).snapshot for blob in blobs if blob is not None}
            unused = [number for number in unused if number not in named]
        for number in unused:
            remove_chunks(self.redis, number)
        return unused

    def trim_announcements(self, oldest: int) -> None:
        """Shorten the stream of announced snapshots to those from number `oldest` on."""
        announced: Any = self.redis.xrange(self.key("snapshots"))
        kept = [id_ for id_, fields in announced if int(fields[b"n"]) >= oldest]
        if kept:
            self.redis.xtrim(self.key("snapshots"), minid=kept[0].decode(), approximate=False)

    def trim_trainer_streams(self) -> None:
        """Shorten the trainer's state and feed streams to what a reader of any kept version may still need."""
        blobs: list[Any] = [self.redis.hget(self.key("version", number), "manifest") for number in self.versions()]
        sources = [msgspec.json.decode(blob, type=SnapshotManifest) for blob in blobs if blob is not None]
        if sources:
            self._trim("state", [source.state_id for source in sources])
            self._trim("feed", [source.feed_id for source in sources])

    def _most_nodes(self, number: int) -> int:
        """Return the most leaves that a version may have, by the headers of its shards and by its manifest."""
        shards = version_shards(number, self.covered_shards)
        counts: list[Any] = [self.redis.hget(shard.header, "nodes") for shard in shards]
        try:
            known = self.manifest(number).nodes
        except VersionNotFoundError:
            known = 0
        return max(known, *(int(count or 0) for count in counts))

    def _trim(self, stream: str, needed: Sequence[str]) -> None:
        self.redis.xtrim(self.key(stream), minid=min(needed, key=streams.entry_order), approximate=True)

    def _existing(self, names: dict[int, str]) -> list[int]:
        pipeline = self.redis.pipeline(transaction=False)
        for name in names.values():
            pipeline.exists(name)
        return [number for number, exists in zip(names, pipeline.execute(), strict=True) if exists]

    def _drop(self, names: Sequence[str], number: str, purpose: str) -> None:
        keys = (self.key("current"), self.key("versions"), *names)
        self.run_script(lua_scripts.DROP_VERSION, keys=keys, arguments=(number,), purpose=purpose)

    def _snapshot_not_found(self, number: int) -> SnapshotNotFoundError:
        return SnapshotNotFoundError(f"snapshot {number} is not in Redis; there are {self.snapshots() or 'none'}")


def _between(first: int, last: int) -> range:
    return range(max(first, 0), last + 1)
