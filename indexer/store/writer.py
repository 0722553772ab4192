"""IndexStore: the only place that knows how a version gets into Redis, changes there, and becomes the one in use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hsnn.indexer.errors import HeldError, MovedError, RollbackError
from hsnn.indexer.store import bulk_load, lua_scripts, posting_lists, streams
from hsnn.indexer.store.bulk_load import Items
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.publish_hold import Hold
from hsnn.indexer.store.retention import Shelves
from hsnn.indexer.store.shards import Part, by_shard, runs
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.streaming.redis.client import Redis


class Record(NamedTuple):
    """A record of a leaf, and the row that it is of."""

    shard: int
    leaf: int | str
    slot: int
    row: int


class IndexStore(Shelves):
    """Reads versions and deltas; with a lease, writes them.

    Every change that a reader could see goes through a script that checks the lease's fencing token. What is written
    aside, under a version number that nobody else gets, needs no check.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    lease
        Needed for writing only.
    chunk
        Items per script call.
    """

    def __init__(self, redis: Redis, lease: Lease | None = None, chunk: int = 500) -> None:
        super().__init__(redis, lease)
        self._chunk = chunk
        self._widths: dict[int, int] = {}
        self._calls: dict[int, int] = {}  # the last one of each version

    def allocate(self) -> int:
        """Take a number for a new version; nobody else gets it."""
        number: Any = self.redis.incr(self.key("version", "counter"))
        return int(number)

    def write_aside(self, manifest: VersionManifest, base: IndexBase, items: Items) -> None:
        """Write the base of a version that no reader looks at yet: a copy of its snapshot, its index, all its parts.

        Raises
        ------
        SnapshotGoneError
            The snapshot was removed in the meantime.
        """
        name = self.key("version", manifest.version)
        if not self.redis.copy(self.key("snapshot", manifest.snapshot), name, replace=True):
            raise self._no_snapshot(manifest.snapshot)
        shards = len(manifest.shards)
        bulk_load.send(self.redis, bulk_load.commands(manifest.version, base, items, shards, 10 * self._chunk))
        fields: dict[Any, Any] = {**base.encode(), b"version": msgspec.json.encode(manifest)}
        self.redis.hset(name, mapping=fields)

    def apply(self, number: int, deltas: Sequence[Delta]) -> None:
        """Change leaves, item map and expiry set of a version and tell its readers, in order.

        Atomic per call of up to `chunk` deltas that follow one another and are of one shard. A call that arrives
        twice, or after a later one to its shard, because a connection broke, changes nothing the second time.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        MovedError
            The version is gone.
        ValueError
            A delta puts an item somewhere without a vector of the version's width.
        """
        parts, items = self.parts(number), [delta.item for delta in deltas]
        for shard, mine in runs(deltas, items, len(parts)):
            width = self._width_of(number)
            for start in range(0, len(mine), self._chunk):
                some = mine[start : start + self._chunk]
                puts = zip(some, _puts(some, width), strict=True)
                self._call(parts[shard], [value for delta, put in puts for value in (*put, delta.encode())])

    def overtake(self, number: int) -> None:
        """Make sure that calls of before, which may still be on their way, change nothing of a version any more.

        Raises
        ------
        FencedError, MovedError
            As of `apply`.
        """
        self._width_of(number)
        for part in self.parts(number):
            self._call(part, ())

    def mend(
        self,
        number: int,
        damaged: Collection[tuple[int, int | str]],
        rubbed_out: Sequence[Record],
        items: Sequence[Delta],
    ) -> None:
        """Set leaves, item map and expiry set of a version right without telling its readers; atomic per call.

        Parameters
        ----------
        number
            The version.
        damaged
            Shard and leaf of what is to be given up as a whole.
        rubbed_out
            Records that no item should have.
        items
            Where each item should be after that, as deltas.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        MovedError
            The version is gone.
        """
        parts = self.parts(number)
        mended = dict(by_shard(items, [delta.item for delta in items], len(parts)))
        for part in parts:
            keys, what = (part.head, part.items, part.ends, part.leaves), f"repair of version {number}"
            if given_up := [f"{part.leaves}:{leaf}" for shard, leaf in damaged if shard == part.shard]:
                self.write(lua_scripts.REMOVE, given_up, (), what, part.shard)
            records = [record for record in rubbed_out if record.shard == part.shard]
            for start in range(0, len(records), self._chunk):
                some = records[start : start + self._chunk]
                places = [value for record in some for value in record[1:]]
                self.write(lua_scripts.MEND, keys, [len(some), *places], what, part.shard)
            mine, width = mended.get(part.shard, []), self._width_of(number)
            for start in range(0, len(mine), self._chunk):
                puts = chain.from_iterable(_puts(mine[start : start + self._chunk], width))
                self.write(lua_scripts.MEND, keys, [0, *puts], what, part.shard)

    def announce(self, number: int) -> None:
        """Tell readers of a version that is written aside, so that they load it before they are flipped to it.

        Raises
        ------
        FencedError
            The lease is lost; nobody was told.
        """
        self.write(lua_scripts.ANNOUNCE, (self.key("announced"),), (number,), f"announcement of version {number}")

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
        stream = self._unmoved(number, old, seen)
        call = 0 if old is None else self._last_call(old) + 1
        keys = (
            self.key("current"),
            self.key("versions"),
            self.key("version", number),
            stream.deltas,
            self.key("hold"),
        )
        seen = seen.partition(",")[0]
        superseded = Delta("superseded", version=number).encode()
        held = ("heed" if heed else "ignore", b"" if hold is None else hold.encode())
        arguments = (number, "" if old is None else old, seen, superseded, *held, call)
        try:
            self.write(lua_scripts.FLIP, keys, arguments, f"flip from version {old} to {number}")
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

    def _unmoved(self, number: int, old: int | None, seen: str) -> Part:
        """Look whether `number` is whole and no shard of `old` has moved; the part that the script looks at itself.

        Between this look and the flip nobody else can write deltas: they would have taken the lease, and the flip would
        be refused.
        """
        if not all(self.redis.exists(part.head) for part in self.parts(number)):
            raise MovedError(f"version {number} is not whole; nothing was written")
        if old is None:
            return Part(0, 0)
        first, *others = self.parts(old)
        for part, position in zip(others, seen.split(",")[1:], strict=True):
            if streams.last_id(self.redis, part.deltas) != position:
                raise MovedError(f"version {old} has moved past {seen}; nothing was written")
        return first

    def _width_of(self, number: int) -> int:
        """Width W of a version's vectors, which is looked up together with the number of the last call."""
        if number not in self._widths:
            widths = [self.width(part) for part in self.parts(number)]
            if None in widths:
                raise MovedError(f"version {number} is gone from shard {widths.index(None)}; nothing was written")
            self._calls[number] = self._last_call(number)
            self._widths[number] = widths[0] or 0
        return self._widths[number]

    def _last_call(self, number: int) -> int:
        """Look up the number of the last call that wrote deltas of a version, in any of its parts."""
        found: list[Any] = [self.redis.hget(part.head, "calls") for part in self.parts(number)]
        return max(int(calls or 0) for calls in found)

    def _call(self, part: Part, changes: Sequence[Any]) -> None:
        """Change a part of a version that was looked up, by the next call."""
        self._calls[part.number] += 1
        keys = (part.head, part.items, part.ends, part.deltas, part.leaves)
        arguments = (self._calls[part.number], *changes)
        self.write(lua_scripts.APPLY, keys, arguments, f"deltas of version {part.number}", part.shard)


def _puts(deltas: Sequence[Delta], width: int) -> list[tuple[bytes, int, str, bytes, int]]:
    """Item, row, leaf or nothing, record, end of life: what a script needs to know of each delta."""
    for delta in deltas:
        if delta.op != "delete" and len(delta.packed) != 4 * width:
            raise ValueError(f"the delta of item {delta.item!r} carries {len(delta.packed)} bytes, not {width} numbers")
    entering = [delta for delta in deltas if delta.op != "delete"]
    vectors = np.frombuffer(b"".join(delta.packed for delta in entering), "<f4").reshape(-1, width)  # (n, W)
    records = iter(
        posting_lists.split(posting_lists.pack(np.array([delta.row for delta in entering], np.int64), vectors), width)
    )
    return [
        (_bytes(delta.item), delta.row, "", b"", 0)
        if delta.op == "delete"
        else (_bytes(delta.item), delta.row, str(delta.node), next(records), delta.expires_at)
        for delta in deltas
    ]


def _bytes(item: str) -> bytes:
    return item.encode(errors="surrogateescape")
