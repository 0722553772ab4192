"""IndexReader: what everybody may read of the index in Redis, without knowing its keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.errors import VersionGoneError
from hsnn.indexer.metrics import DAMAGED
from hsnn.indexer.store import posting_lists, streams
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.delta_order import in_order
from hsnn.indexer.store.posting_lists import Records
from hsnn.indexer.store.shards import Part, parts_of
from hsnn.indexer.store.streams import START, Entry
from hsnn.indexer.store.version import Version, VersionManifest
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

_log = logging.getLogger(__name__)
_MANIFEST = "version"
_PAGE = 5000  # entries of a hash or set that are looked at in one go


class IndexReader:
    """Reads versions and their deltas.

    Where a reader stands in the deltas of a version is a text: the ids of the last entries read, one per shard, with
    commas in between.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._shards: dict[int, tuple[int, ...]] = {}

    def key(self, *parts: str | int) -> str:
        """Name of a key that there is once: in shard 0."""
        return key(*parts)

    def parts(self, number: int) -> list[Part]:
        """Parts of a version, one per shard; of one that is gone, that of shard 0."""
        if number not in self._shards:
            try:
                self._shards[number] = self.manifest(number).shards
            except VersionGoneError:
                return parts_of(number, (0,))
        return parts_of(number, self._shards[number])

    def current(self) -> int | None:
        """Version that readers use now; None before the first one."""
        number: Any = self.redis.get(self.key("current"))
        return None if number is None else int(number)

    def versions(self) -> list[int]:
        """List the published versions that still exist, oldest first."""
        numbers: Any = self.redis.zrange(self.key("versions"), 0, -1)
        return [int(number) for number in numbers]

    def manifest(self, number: int) -> VersionManifest:
        """Manifest of a version.

        Raises
        ------
        VersionGoneError
            There is no such version.
        """
        blob: Any = self.redis.hget(self.key("version", number), _MANIFEST)
        if blob is None:
            raise self._gone(number)
        return msgspec.json.decode(blob, type=VersionManifest)

    def load_version(self, number: int, *, vectors: bool = True) -> Version:
        """Whole base of a version; its deltas come on top, all of them, whatever the vectors already know of them.

        Parameters
        ----------
        number
            The version.
        vectors
            Whether the leaves are read, too; otherwise the index comes without vectors, (0, 0).

        Raises
        ------
        VersionGoneError
            There is no such version (any more), or it lacks a part; look at `current` again.
        """
        fields: Any = self.redis.hgetall(self.key("version", number))
        if _MANIFEST.encode() not in fields:
            raise self._gone(number)
        manifest = msgspec.json.decode(fields[_MANIFEST.encode()], type=VersionManifest)
        self._shards[number] = manifest.shards
        width = self._whole(manifest)
        return Version.decode(fields, self._vectors(manifest, width) if vectors else np.zeros((0, 0), np.float32))

    def read_deltas(
        self, number: int, after: str = START, count: int = 1000, block_ms: int | None = None
    ) -> list[tuple[str, Delta]]:
        """Return the next deltas of a version, in the order of their writing, with the position behind each.

        At most `count` per shard are read, and those of other shards that were written between them. With `block_ms` it
        waits that long for the first one; keep it below the client's socket timeout. An empty list means that there is
        nothing new.
        """
        at = self._positions(number, after)
        found = []
        for entry in in_order(self.redis, streams.read(self.redis, at, count, block_ms), at):
            at[entry.stream] = entry.id
            found.append((",".join(at.values()), Delta.decode(entry.fields[b"d"])))
        return found

    def delta_entries(self, number: int, after: str = START, upto: str = "+") -> Iterator[Entry]:
        """All entries of the delta streams of a version between two positions, shard by shard, never waiting."""
        ends = self._positions(number, upto)
        for stream, begin in self._positions(number, after).items():
            yield from streams.follow(self.redis, stream, begin, ends[stream])

    def last_delta_id(self, number: int) -> str:
        """Position behind the newest delta of a version, `START` without any."""
        return ",".join(streams.last_id(self.redis, part.deltas) for part in self.parts(number))

    def item_nodes(self, number: int) -> dict[str, int]:
        """Return the item map of a version, as it is now: item id -> leaf, -1 for what cannot be read."""
        found: dict[str, int] = {}
        for part in self.parts(number):
            for item, place in self.redis.hscan_iter(part.items, count=_PAGE):
                found[item.decode(errors="surrogateescape")] = posting_lists.Place.read(place).leaf
        return found

    def width(self, part: Part) -> int | None:
        """Numbers in a vector of a part, W; None if the part is gone."""
        found: Any = self.redis.hget(part.head, "width")
        return None if found is None else int(found)

    def leaves(self, part: Part, manifest: VersionManifest) -> Iterator[tuple[str, Records]]:
        """Names and records of the leaves of a part that hold anything, read one after the other."""
        width = self.width(part) or 0
        expected = manifest.rows * posting_lists.size_of(width) // len(manifest.shards)
        for name, blob in posting_lists.read_leaves(self.redis, part.all_leaves(manifest.nodes), expected):
            yield name, posting_lists.unpack(blob, width)

    def newest_published(self) -> VersionManifest | None:
        """Manifest of the newest version, which is not the current one after a rollback; None before the first."""
        for number in reversed(self.versions()):
            try:
                return self.manifest(number)
            except VersionGoneError:
                continue
        return None

    def _positions(self, number: int, position: str) -> dict[str, str]:
        """Stream -> id of the deltas of each shard; a position of one id is meant for all."""
        names, ids = [part.deltas for part in self.parts(number)], position.split(",")
        return dict(zip(names, ids * len(names) if len(ids) == 1 else ids, strict=True))

    def _whole(self, manifest: VersionManifest) -> int:
        """Width W of the vectors of a version all of whose parts are there."""
        widths = [self.width(part) for part in parts_of(manifest.version, manifest.shards)]
        if None in widths:
            raise self._gone(manifest.version)
        return widths[0] or 0

    def _vectors(self, manifest: VersionManifest, width: int) -> NDArray[np.float32]:
        """Vectors (rows, W) of a version, out of the leaves of all shards."""
        parts = parts_of(manifest.version, manifest.shards)
        leaves = (records for part in parts for records in self._told(part, manifest))
        vectors = posting_lists.gather(leaves, manifest.rows, width)
        if not self.redis.hexists(self.key("version", manifest.version), _MANIFEST):
            raise self._gone(manifest.version)  # removed while it was read: its leaves go after it
        return vectors

    def _told(self, part: Part, manifest: VersionManifest) -> Iterator[Records]:
        """Read the leaves of a part, with a loud line about each that is damaged."""
        for name, records in self.leaves(part, manifest):
            if not records.whole:
                _log.error("%s is damaged; what cannot be read of it is left out: hsnn index verify --repair", name)
                DAMAGED.inc()
            yield records

    def _gone(self, number: int) -> VersionGoneError:
        return VersionGoneError(
            f"version {number} is not in Redis (published and kept: {self.versions() or 'none'}); "
            f"read {self.key('current')} again"
        )
