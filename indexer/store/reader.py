"""IndexReader: read versions and deltas of the index in Redis without knowing its keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store import posting_lists, streams
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.delta_order import in_write_order
from hsnn.indexer.store.posting_lists import PostingList
from hsnn.indexer.store.shards import VersionShard, version_shards
from hsnn.indexer.store.streams import STREAM_START, StreamEntry
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.errors import SnapshotDamagedError
from hsnn.trainer.features.mass_expiry import Arrival
from hsnn.trainer.snapshot_chunks import read_snapshot

_log = logging.getLogger(__name__)


# Field of a version's hash that holds its manifest.
_MANIFEST = "version"

# Entries of an item map fetched at once: some hundred kilobytes.
_PAGE = 5000


@cache  # made by who reads an index, not by an import: a worker of a server has set by then where it counts
def damaged_leaves() -> Counter:
    """Return what counts damaged leaves, in the registry of all metrics of this process."""
    return Counter("hsnn_leaves_damaged_total", "Leaves that were loaded without what of them is damaged.")


class IndexReader:
    """Reads versions and their deltas.

    A position in the deltas of a version is a string: the ids of the last entries read, one per shard, separated by
    commas.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    prefix
        First part of the names of the keys; None: that of this process.
    """

    def __init__(self, redis: Redis, prefix: str | None = None) -> None:
        self.redis, self.prefix = redis, prefix
        self._shards: dict[int, tuple[int, ...]] = {}
        self._damaged = damaged_leaves()

    def key(self, *parts: str | int) -> str:
        """Name a key that exists once, in shard 0."""
        return key(*parts, prefix=self.prefix)

    def shards(self, number: int) -> list[VersionShard]:
        """List the shards of a version; of a version that does not exist, shard 0."""
        if number not in self._shards:
            try:
                self._shards[number] = self.manifest(number).shards
            except VersionNotFoundError:
                return version_shards(number, (0,), self.prefix)
        return version_shards(number, self._shards[number], self.prefix)

    def current(self) -> int | None:
        """Return the version that readers use now; None before the first one."""
        number: Any = self.redis.get(self.key("current"))
        return None if number is None else int(number)

    def arrival(self) -> Arrival:
        """Return the watermark that the trainer reached last, and how long ago, by the clock of Redis."""
        values: Any = self.redis.hmget(self.key("progress"), ["watermark", "arrived_at"])
        watermark, arrived_at = (int(value or 0) for value in values)
        clock: Any = self.redis.time()
        now = 1000 * clock[0] + clock[1] // 1000
        return Arrival(watermark, max(now - arrived_at, 0) if arrived_at else 0)

    def versions(self) -> list[int]:
        """List the published versions that still exist, oldest first."""
        numbers: Any = self.redis.zrange(self.key("versions"), 0, -1)
        return [int(number) for number in numbers]

    def manifest(self, number: int) -> VersionManifest:
        """Read the manifest of a version.

        Raises
        ------
        VersionNotFoundError
            There is no such version.
        """
        blob: Any = self.redis.hget(self.key("version", number), _MANIFEST)
        if blob is None:
            raise self._not_found(number)
        return msgspec.json.decode(blob, type=VersionManifest)

    def load_version(self, number: int, *, vectors: bool = True) -> Version:
        """Load the base of a version; all its deltas are to be applied on top, though vectors may include some already.

        Parameters
        ----------
        number
            The version.
        vectors
            Whether the leaves are read, too; otherwise the vectors are an empty array, (0, 0).

        Raises
        ------
        VersionNotFoundError
            There is no such version (any more), or it lacks a shard or chunk; read `current` again.
        """
        fields: Any = self.redis.hgetall(self.key("version", number))
        if _MANIFEST.encode() not in fields:
            raise self._not_found(number)
        manifest = msgspec.json.decode(fields[_MANIFEST.encode()], type=VersionManifest)
        self._shards[number] = manifest.shards
        width = self._complete_width(manifest)
        try:
            snapshot = read_snapshot(self.redis, fields, self.prefix)
        except SnapshotDamagedError as error:
            raise VersionNotFoundError(f"version {number} cannot be loaded: {error}") from error
        read = self._vectors(manifest, width) if vectors else np.zeros((0, 0), np.float32)
        return Version(manifest, snapshot, IndexBase.decode(fields, read))

    def read_deltas(
        self, number: int, after: str = STREAM_START, count: int = 1000, block_ms: int | None = None
    ) -> list[tuple[str, Delta]]:
        """Read the next deltas of a version in the order in which they were written, with the position behind each.

        Parameters
        ----------
        number
            The version.
        after
            Position to read from.
        count
            Most deltas per shard; those of other shards that were written between them come on top.
        block_ms
            Milliseconds to wait for the first one, below the client's socket timeout; None: do not wait.
        """
        positions = self._positions(number, after)
        deltas = []
        entries = streams.read_entries(self.redis, positions, count, block_ms)
        for entry in in_write_order(self.redis, entries, positions):
            positions[entry.stream] = entry.id
            deltas.append((",".join(positions.values()), Delta.decode(entry.fields[b"d"])))
        return deltas

    def delta_entries(self, number: int, after: str = STREAM_START, upto: str = "+") -> Iterator[StreamEntry]:
        """Iterate over the delta entries of a version between two positions, shard by shard, without waiting."""
        ends = self._positions(number, upto)
        for stream, begin in self._positions(number, after).items():
            yield from streams.scan_entries(self.redis, stream, begin, ends[stream])

    def last_delta_id(self, number: int) -> str:
        """Return the position behind the newest delta of a version; `STREAM_START` without any."""
        return ",".join(streams.last_id(self.redis, shard.delta_stream) for shard in self.shards(number))

    def item_nodes(self, number: int) -> dict[str, int]:
        """Return the item map of a version, as it is now: item id -> leaf, -1 for entries that cannot be read."""
        nodes: dict[str, int] = {}
        for shard in self.shards(number):
            for item, location in self.redis.hscan_iter(shard.item_map, count=_PAGE):
                nodes[item.decode(errors="surrogateescape")] = posting_lists.LeafSlot.parse(location).leaf
        return nodes

    def width(self, shard: VersionShard) -> int | None:
        """Return the width W of the vectors of a shard; None if the version has no keys in it."""
        width: Any = self.redis.hget(shard.header, "width")
        return None if width is None else int(width)

    def leaves(self, shard: VersionShard, manifest: VersionManifest) -> Iterator[tuple[str, PostingList]]:
        """Read the leaves of a shard that exist, one after the other: name and records."""
        width = self.width(shard) or 0
        for blobs in self._leaf_blobs(shard, manifest, width):
            yield from ((name, posting_lists.unpack(blob, width)) for name, blob in blobs.items())

    def newest_published(self) -> VersionManifest | None:
        """Read the manifest of the newest version, after a rollback not the current one; None before the first."""
        for number in reversed(self.versions()):
            try:
                return self.manifest(number)
            except VersionNotFoundError:
                continue
        return None

    def _positions(self, number: int, position: str) -> dict[str, str]:
        """Return {delta stream: id} of all shards; a position of a single id holds for each of them."""
        names, ids = [shard.delta_stream for shard in self.shards(number)], position.split(",")
        return dict(zip(names, ids * len(names) if len(ids) == 1 else ids, strict=True))

    def _complete_width(self, manifest: VersionManifest) -> int:
        """Return the width W of a version's vectors, once all its shards are known to be there."""
        widths = [self.width(shard) for shard in version_shards(manifest.version, manifest.shards, self.prefix)]
        if None in widths:
            raise self._not_found(manifest.version)
        return widths[0] or 0

    def _vectors(self, manifest: VersionManifest, width: int) -> NDArray[np.float32]:
        """Read the vectors (rows, W) of a version from the leaves of all shards."""
        shards = version_shards(manifest.version, manifest.shards, self.prefix)
        leaves = (records for shard in shards for records in self._checked_leaves(shard, manifest, width))
        vectors = posting_lists.vectors_by_row(leaves, manifest.rows, width)
        if not self.redis.hexists(self.key("version", manifest.version), _MANIFEST):
            raise self._not_found(manifest.version)  # removed while it was read: its leaves are removed after it
        return vectors

    def _leaf_blobs(self, shard: VersionShard, manifest: VersionManifest, width: int) -> Iterator[dict[str, bytes]]:
        """Read the leaves of a shard that exist, packed, many at once."""
        expected = manifest.rows * posting_lists.record_size(width) // len(manifest.shards)
        return posting_lists.read_posting_lists(self.redis, shard.leaf_keys(manifest.nodes), expected)

    def _checked_leaves(self, shard: VersionShard, manifest: VersionManifest, width: int) -> Iterator[PostingList]:
        """Read the leaves of a shard, joined to large ones unless one is damaged: that is logged and counted."""
        for blobs in self._leaf_blobs(shard, manifest, width):
            joined = posting_lists.unpack(b"".join(blobs.values()), width)
            if joined.intact:
                yield joined
                continue
            for name, blob in blobs.items():
                records = posting_lists.unpack(blob, width)
                if not records.intact:
                    _log.error("%s is damaged; what cannot be read of it is left out: hsnn index verify --repair", name)
                    self._damaged.inc()
                yield records

    def _not_found(self, number: int) -> VersionNotFoundError:
        return VersionNotFoundError(
            f"version {number} is not in Redis (published and kept: {self.versions() or 'none'}); "
            f"read {self.key('current')} again"
        )
