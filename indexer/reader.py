"""IndexReader: what everybody may read of the index in Redis, without knowing its keys."""

from __future__ import annotations

from typing import Any

import msgspec

from indexer import streams
from indexer.delta import Delta
from indexer.errors import VersionGoneError
from indexer.streams import START
from indexer.version import Version, VersionManifest
from streaming.keys import key
from streaming.redis_client import Redis

_MANIFEST = "version"


class IndexReader:
    """Reads versions and their deltas.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    shard
        Shard whose keys are read.
    """

    def __init__(self, redis: Redis, shard: int = 0) -> None:
        self.redis = redis
        self.shard = shard

    def key(self, *parts: str | int) -> str:
        """Name of a key of this shard."""
        return key(*parts, shard=self.shard)

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

    def load_version(self, number: int) -> Version:
        """Whole base of a version: one HGETALL of model, states, vectors and nodes; its deltas come on top.

        Raises
        ------
        VersionGoneError
            There is no such version (any more); look at `current` again.
        """
        fields: Any = self.redis.hgetall(self.key("version", number))
        if _MANIFEST.encode() not in fields:
            raise self._gone(number)
        return Version.decode(fields)

    def read_deltas(
        self, number: int, after: str = START, count: int = 1000, block_ms: int | None = None
    ) -> list[tuple[str, Delta]]:
        """Return the next deltas of a version, in order, as (id, delta): at most `count`, after the entry `after`.

        With `block_ms` it waits that long for the first one; keep it below the client's socket timeout. An empty list
        means that there is nothing new.
        """
        found = streams.read(self.redis, {self.key("deltas", number): after}, count, block_ms)
        return [(entry.id, Delta.decode(entry.fields[b"d"])) for entry in found]

    def last_delta_id(self, number: int) -> str:
        """Id of the newest delta of a version, `START` without any."""
        return streams.last_id(self.redis, self.key("deltas", number))

    def item_nodes(self, number: int) -> dict[str, int]:
        """Return the item map of a version, as it is now: item id -> node."""
        found: Any = self.redis.hgetall(self.key("items", number))
        return {item.decode(): int(node) for item, node in found.items()}

    def newest_published(self) -> VersionManifest | None:
        """Manifest of the newest version, which is not the current one after a rollback; None before the first."""
        for number in reversed(self.versions()):
            try:
                return self.manifest(number)
            except VersionGoneError:
                continue
        return None

    def _gone(self, number: int) -> VersionGoneError:
        return VersionGoneError(
            f"version {number} is not in Redis (published and kept: {self.versions() or 'none'}); "
            f"read {self.key('current')} again"
        )
