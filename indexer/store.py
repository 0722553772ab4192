"""IndexStore: the only place that knows how versions, item maps and deltas lie in Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from indexer import scripts, streams
from indexer.delta import Delta
from indexer.errors import FencedError, HeldError, InUseError, MovedError, RollbackError, SnapshotGoneError
from indexer.hold import Hold
from indexer.lease import Lease
from indexer.reader import IndexReader
from indexer.version import IndexBase, VersionManifest
from streaming.redis_client import Redis
from trainer.wire import Snapshot, SnapshotManifest

_PARTS = ("version", "items", "deltas")
_LOOK_BACK = 16  # a publisher that slept through this many versions may leave its half-built one behind


class IndexStore(IndexReader):
    """Reads versions and deltas; with a lease, writes them.

    Every change that a reader could see goes through a script that checks the lease's fencing token. What is written
    aside, under a version number that nobody else gets, needs no check.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    lease
        Needed for writing only.
    shard
        Shard whose keys are used.
    chunk
        Items per script call.
    """

    def __init__(self, redis: Redis, lease: Lease | None = None, shard: int = 0, chunk: int = 500) -> None:
        super().__init__(redis, shard)
        self._lease = lease
        self._chunk = chunk

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

    def allocate(self) -> int:
        """Take a number for a new version; nobody else gets it."""
        number: Any = self.redis.incr(self.key("version", "counter"))
        return int(number)

    def write_aside(self, manifest: VersionManifest, base: IndexBase, items: Mapping[str, int]) -> None:
        """Write the base of a version that no reader looks at yet: a copy of its snapshot, index and item map.

        Raises
        ------
        SnapshotGoneError
            The snapshot was removed in the meantime.
        """
        name, item_map = self.key("version", manifest.version), self.key("items", manifest.version)
        if not self.redis.copy(self.key("snapshot", manifest.snapshot), name, replace=True):
            raise self._no_snapshot(manifest.snapshot)
        pairs = iter(items.items())
        while part := dict(islice(pairs, 10 * self._chunk)):
            self.redis.hset(item_map, mapping=_plain(part))
        self.redis.hset(name, mapping=_plain(base.encode() | {b"version": msgspec.json.encode(manifest)}))

    def apply(self, number: int, deltas: Sequence[Delta]) -> None:
        """Change the item map of a version and tell its readers: atomic per call of up to `chunk` deltas, in order.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        MovedError
            The version is gone.
        """
        keys = (self.key("version", number), self.key("items", number), self.key("deltas", number))
        for start in range(0, len(deltas), self._chunk):
            part = deltas[start : start + self._chunk]
            arguments = [text for delta in part for text in _arguments(delta)]
            self.write(scripts.APPLY, keys, arguments, f"deltas of version {number}")

    def mend(self, number: int, items: Mapping[str, int | None]) -> None:
        """Set the nodes of some items in a version's item map, None: not in it; atomic per `chunk` items.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        """
        keys = (self.key("version", number), self.key("items", number))
        pairs = iter(items.items())
        while part := list(islice(pairs, self._chunk)):
            arguments = [text for item, node in part for text in _placed(item, node)]
            self.write(scripts.MEND, keys, arguments, f"repair of version {number}")

    def flip(self, number: int, old: int | None, seen: str, hold: Hold | None = None, *, heed: bool = True) -> None:
        """Make `number` the version that readers use, and wake the readers of `old`.

        Parameters
        ----------
        number
            A version that is written completely.
        old
            The version it replaces; None for the first.
        seen
            Newest delta of `old` that `number` accounts for.
        hold
            To be placed in the same moment.
        heed
            Whether a standing hold forbids it.

        Raises
        ------
        MovedError
            `old` is not current or has moved past `seen`: catch up and flip again. Nothing was written.
        FencedError
            The lease is lost; nothing was written.
        HeldError
            Publishing is held, and that is heeded; nothing was written.
        """
        keys = (
            self.key("current"), self.key("versions"), self.key("version", number), self.key("deltas", old or "none"),
            self.key("hold"),
        )  # fmt: skip
        superseded = Delta("superseded", version=number).encode()
        held = ("heed" if heed else "ignore", b"" if hold is None else hold.encode())
        arguments = (number, "" if old is None else old, seen, superseded, *held)
        try:
            self.write(scripts.FLIP, keys, arguments, f"flip from version {old} to {number}")
        except (MovedError, HeldError):
            if self.current() != number:  # else the client sent it again after a lost answer: it is done
                raise

    def rollback(self, number: int, hold: Hold | None = None) -> None:
        """Flip back to an older version, whether publishing is held or not; its own deltas go on where they stopped.

        The next snapshot leads to a new version again, unless a hold stands; `hold` is placed with the flip.
        The leader has to bring the old version up to date: items that came or left since it was superseded are not in
        its deltas yet.

        Raises
        ------
        RollbackError
            The version is gone, current already, or of another incarnation of the trainer, whose rows mean other items.
        """
        current = self.current()
        if current is None or number not in self.versions():
            raise RollbackError(f"version {number} is not kept; there are {self.versions() or 'none'}")
        if number == current:
            raise RollbackError(f"version {number} is the current one already")
        theirs, ours = self.manifest(number).epoch, self.manifest(current).epoch
        if theirs != ours:
            raise RollbackError(
                f"version {number} was made in epoch {theirs} of the trainer, the current version {current} in {ours}: "
                "their rows mean different items; choose a version of the same epoch"
            )
        self.flip(number, current, self.last_delta_id(current), hold, heed=False)

    def drop_version(self, number: int) -> None:
        """Remove a version that is not current, whole or half-built."""
        keys = [self.key(part, number) for part in _PARTS]
        self._drop(keys, str(number), f"removal of version {number}")

    def drop_snapshot(self, number: int) -> None:
        """Remove a snapshot; versions made from it have their own copy."""
        self._drop([self.key("snapshot", number)], "", f"removal of snapshot {number}")

    def snapshots(self) -> list[int]:
        """List the snapshots in Redis, by number."""
        announced: Any = self.redis.xrange(self.key("snapshots"))
        numbers = sorted(int(fields[b"n"]) for _, fields in announced)
        return self._existing("snapshot", numbers[0] - _LOOK_BACK, numbers[-1]) if numbers else []

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

    def write(self, script: str, keys: Sequence[str], arguments: Sequence[Any], what: str) -> None:
        """Run a script of `indexer.scripts` under the lease; `keys` and `arguments` without the lease's own.

        Raises
        ------
        FencedError, MovedError, InUseError, HeldError
            Redis refused; nothing was written.
        """
        if self._lease is None:
            raise FencedError(f"{what}: this store was opened for reading; give it a lease to write")
        names = (self._lease.key, *keys)
        answer: Any = self.redis.eval(script, len(names), *names, self._lease.value, *arguments)
        if answer != b"OK":
            raise _REFUSALS[answer](f"{what} was refused by Redis: {answer.decode().lower()}; nothing was written")

    def _trim(self, stream: str, needed: Sequence[str]) -> None:
        self.redis.xtrim(self.key(stream), minid=min(needed, key=streams.order), approximate=True)

    def half_built(self) -> list[int]:
        """List versions that exist in part but were never published: a publisher died, or is still at work."""
        published = self.versions()
        newest: Any = self.redis.get(self.key("version", "counter"))
        bounds = (min(published, default=1) - _LOOK_BACK, int(newest or 0))
        found = {number for part in _PARTS for number in self._existing(part, *bounds)}
        return sorted(found - set(published))

    def _existing(self, part: str, first: int, last: int) -> list[int]:
        numbers = range(max(first, 0), last + 1)
        pipeline = self.redis.pipeline(transaction=False)
        for number in numbers:
            pipeline.exists(self.key(part, number))
        return [number for number, exists in zip(numbers, pipeline.execute(), strict=True) if exists]

    def _drop(self, names: Sequence[str], number: str, what: str) -> None:
        self.write(scripts.DROP, (self.key("current"), self.key("versions"), *names), (number,), what)

    def _no_snapshot(self, number: int) -> SnapshotGoneError:
        return SnapshotGoneError(f"snapshot {number} is not in Redis; there are {self.snapshots() or 'none'}")


_REFUSALS: dict[bytes, Callable[[str], Exception]] = {
    b"FENCED": FencedError, b"MOVED": MovedError, b"GONE": MovedError, b"CURRENT": InUseError,
    b"HELD": HeldError,
}  # fmt: skip


def _arguments(delta: Delta) -> tuple[str, str, bytes]:
    return delta.item, "" if delta.op == "delete" else str(delta.node), delta.encode()


def _placed(item: str, node: int | None) -> tuple[bytes, str]:
    return item.encode(errors="surrogateescape"), "" if node is None else str(node)


def _plain(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(mapping)
