"""IndexStore: write a version into Redis, change it by deltas, and make it the one that readers use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hsnn.indexer.errors import PublishHeldError, RollbackError, VersionChangedError
from hsnn.indexer.store import bulk_load, lua_scripts, posting_lists, streams
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.publish_hold import PublishHold
from hsnn.indexer.store.retention import Retention
from hsnn.indexer.store.shards import VersionShard, consecutive_by_shard, group_by_shard
from hsnn.indexer.store.version import IndexBase, VersionManifest
from hsnn.streaming.redis.client import Redis

# Entries of an item map in one command of a bulk load, per item of a script call: a command that needs no script holds
# up the other clients of Redis for less time.
_BULK_FACTOR = 10


class RecordLocation(NamedTuple):
    """Location of a record, and the row that it belongs to."""

    shard: int
    leaf: int | str
    slot: int
    row: int


class IndexStore(Retention):
    """Reads versions and deltas; with a lease, writes them.

    Every change that a reader could see is made by a script that checks the lease's fencing token. A version that is
    not published yet needs no check: nobody else gets its number.

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
        self._sequence: dict[int, int] = {}  # version -> sequence number of the last call

    def allocate_version(self) -> int:
        """Return a number for a new version that nobody else gets."""
        number: Any = self.redis.incr(self.key("version", "counter"))
        return int(number)

    def write_unpublished(self, manifest: VersionManifest, base: IndexBase, items: ItemColumns) -> None:
        """Write the base of a version that no reader uses yet: its snapshot's head, its index, all its shards.

        Raises
        ------
        SnapshotNotFoundError
            The snapshot was removed in the meantime.
        """
        name = self.key("version", manifest.version)
        if not self.redis.copy(self.key("snapshot", manifest.snapshot), name, replace=True):
            raise self._snapshot_not_found(manifest.snapshot)
        commands = bulk_load.version_commands(
            manifest.version, base, items, shards=len(manifest.shards), chunk=_BULK_FACTOR * self._chunk
        )
        bulk_load.send_commands(self.redis, commands)
        fields: dict[Any, Any] = {**base.encode(), b"version": msgspec.json.encode(manifest)}
        self.redis.hset(name, mapping=fields)

    def apply(self, number: int, deltas: Sequence[Delta]) -> None:
        """Apply deltas to leaves, item map and expiry set of a version and tell its readers, in order.

        Atomic per call of up to `chunk` consecutive deltas of one shard. A call that arrives twice, or after a later
        one to its shard, because a connection broke, changes nothing the second time.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        VersionChangedError
            The version does not exist any more.
        ValueError
            A delta puts an item into a node without a vector of the version's width.
        """
        shards, items = self.shards(number), [delta.item for delta in deltas]
        for shard, run in consecutive_by_shard(deltas, items, len(shards)):
            width = self._load_width(number)
            for start in range(0, len(run), self._chunk):
                chunk = run[start : start + self._chunk]
                changes = zip(chunk, _item_arguments(chunk, width), strict=True)
                self._apply_call(shards[shard], [value for delta, item in changes for value in (*item, delta.encode())])

    def invalidate_inflight_writes(self, number: int) -> None:
        """Advance the sequence number of a version in all shards: calls that are still on their way change nothing.

        Raises
        ------
        FencedError, VersionChangedError
            As of `apply`.
        """
        self._load_width(number)
        for shard in self.shards(number):
            self._apply_call(shard, ())

    def repair(
        self,
        number: int,
        damaged: Collection[tuple[int, int | str]],
        removed: Sequence[RecordLocation],
        items: Sequence[Delta],
    ) -> None:
        """Correct leaves, item map and expiry set of a version without telling its readers; atomic per call.

        Parameters
        ----------
        number
            The version.
        damaged
            Shard and leaf of posting lists that are removed as a whole.
        removed
            Records to mark as removed.
        items
            Where each item belongs after that, as deltas.

        Raises
        ------
        FencedError
            The lease is lost; this call wrote nothing.
        VersionChangedError
            The version does not exist any more.
        """
        shards, purpose = self.shards(number), f"repair of version {number}"
        repaired = dict(group_by_shard(items, [delta.item for delta in items], len(shards)))
        for shard in shards:
            leaves = [f"{shard.leaf_prefix}:{leaf}" for shard_number, leaf in damaged if shard_number == shard.shard]
            if leaves:
                self.run_script(lua_scripts.REMOVE_KEYS, keys=leaves, purpose=purpose, shard=shard.shard)
            records = [record for record in removed if record.shard == shard.shard]
            for start in range(0, len(records), self._chunk):
                chunk = records[start : start + self._chunk]
                locations = [value for _, leaf, slot, row in chunk for value in (leaf, slot, row)]
                self._repair_call(shard, [len(chunk), *locations], purpose)
            deltas, width = repaired.get(shard.shard, []), self._load_width(number)
            for start in range(0, len(deltas), self._chunk):
                values = chain.from_iterable(_item_arguments(deltas[start : start + self._chunk], width))
                self._repair_call(shard, [0, *values], purpose)

    def announce(self, number: int) -> None:
        """Tell readers of an unpublished version, so that they load it before they are flipped to it.

        Raises
        ------
        FencedError
            The lease is lost; nobody was told.
        """
        self.run_script(
            lua_scripts.ANNOUNCE,
            keys=(self.key("announced"),),
            arguments=(number,),
            purpose=f"announcement of version {number}",
        )

    def flip(
        self,
        number: int,
        previous: int | None,
        seen: str,
        hold: PublishHold | None = None,
        *,
        respect_hold: bool = True,
    ) -> None:
        """Make `number` the version that readers use, and wake the readers of `previous`.

        Parameters
        ----------
        number
            A version that is written completely.
        previous
            The version it replaces; None for the first.
        seen
            Newest delta of `previous` that `number` accounts for.
        hold
            To be placed in the same moment.
        respect_hold
            Whether a standing hold forbids it.

        Raises
        ------
        VersionChangedError
            `previous` is not current or has moved past `seen`: catch up and flip again. Nothing was written.
        FencedError
            The lease is lost; nothing was written.
        PublishHeldError
            Publishing is held, and that is respected; nothing was written.
        """
        first_shard = self._check_unchanged(number, previous, seen)
        sequence = 0 if previous is None else self._last_sequence(previous) + 1
        keys = (
            self.key("current"),
            self.key("versions"),
            self.key("version", number),
            first_shard.delta_stream,
            self.key("hold"),
        )
        arguments = (
            number,
            "" if previous is None else previous,
            seen.partition(",")[0],
            Delta("superseded", version=number).encode(),
            "respect" if respect_hold else "ignore",
            b"" if hold is None else hold.encode(),
            sequence,
        )
        purpose = f"flip from version {previous} to {number}"
        try:
            self.run_script(lua_scripts.FLIP, keys=keys, arguments=arguments, purpose=purpose)
        except (VersionChangedError, PublishHeldError):
            if self.current() != number:  # else the client sent it again after a lost answer: it is done
                raise

    def rollback(self, number: int, hold: PublishHold | None = None) -> None:
        """Flip back to an older version, whether publishing is held or not; its own deltas go on where they stopped.

        The next snapshot leads to a new version again, unless a hold stands; `hold` is placed with the flip. The leader
        has to bring the older version up to date: items that came or left since it was superseded are not in its deltas
        yet.

        Raises
        ------
        RollbackError
            The version does not exist any more, is current already, or is of another incarnation of the trainer, whose
            rows mean other items.
        """
        current = self.current()
        if current is None or number not in self.versions():
            raise RollbackError(f"version {number} is not kept; there are {self.versions() or 'none'}")
        if number == current:
            raise RollbackError(f"version {number} is the current one already")
        its_epoch, current_epoch = self.manifest(number).epoch, self.manifest(current).epoch
        if its_epoch != current_epoch:
            raise RollbackError(
                f"version {number} was made in epoch {its_epoch} of the trainer, the current version {current} in "
                f"{current_epoch}: their rows mean different items; choose a version of the same epoch"
            )
        self.flip(number, current, self.last_delta_id(current), hold, respect_hold=False)

    def _check_unchanged(self, number: int, previous: int | None, seen: str) -> VersionShard:
        """Check that `number` is complete and no shard of `previous` has moved; return the shard the script checks.

        Between this check and the flip nobody else can write deltas: they would have acquired the lease, and the flip
        would be refused.
        """
        if not all(self.redis.exists(shard.header) for shard in self.shards(number)):
            raise VersionChangedError(f"version {number} is not complete; nothing was written")
        if previous is None:
            return VersionShard(0, 0)
        first, *others = self.shards(previous)
        for shard, position in zip(others, seen.split(",")[1:], strict=True):
            if streams.last_id(self.redis, shard.delta_stream) != position:
                raise VersionChangedError(f"version {previous} has moved past {seen}; nothing was written")
        return first

    def _load_width(self, number: int) -> int:
        """Return the width W of a version's vectors; looked up once, together with the last sequence number."""
        if number not in self._widths:
            widths = [self.width(shard) for shard in self.shards(number)]
            if None in widths:
                missing = widths.index(None)
                raise VersionChangedError(f"version {number} is gone from shard {missing}; nothing was written")
            self._sequence[number] = self._last_sequence(number)
            self._widths[number] = widths[0] or 0
        return self._widths[number]

    def _last_sequence(self, number: int) -> int:
        """Read the sequence number of the last call that wrote deltas of a version, in any of its shards."""
        numbers: list[Any] = [self.redis.hget(shard.header, "calls") for shard in self.shards(number)]
        return max(int(last or 0) for last in numbers)

    def _apply_call(self, shard: VersionShard, changes: Sequence[Any]) -> None:
        """Change a shard of a version that was looked up, under the next sequence number."""
        self._sequence[shard.number] += 1
        self.run_script(
            lua_scripts.APPLY_DELTAS,
            keys=(shard.header, shard.item_map, shard.expiry_set, shard.delta_stream, shard.leaf_prefix),
            arguments=(self._sequence[shard.number], *changes),
            purpose=f"deltas of version {shard.number}",
            shard=shard.shard,
        )

    def _repair_call(self, shard: VersionShard, arguments: Sequence[Any], purpose: str) -> None:
        self.run_script(
            lua_scripts.REPAIR,
            keys=(shard.header, shard.item_map, shard.expiry_set, shard.leaf_prefix),
            arguments=arguments,
            purpose=purpose,
            shard=shard.shard,
        )


def _item_arguments(deltas: Sequence[Delta], width: int) -> list[tuple[bytes, int, str, bytes, int]]:
    """Make the script arguments of each delta: item, row, leaf or '' to remove it, record, time of expiry."""
    for delta in deltas:
        if delta.op != "delete" and len(delta.packed) != 4 * width:
            raise ValueError(f"the delta of item {delta.item!r} carries {len(delta.packed)} bytes, not {width} numbers")
    entering = [delta for delta in deltas if delta.op != "delete"]
    vectors = np.frombuffer(b"".join(delta.packed for delta in entering), "<f4").reshape(-1, width)  # (n, W)
    rows = np.array([delta.row for delta in entering], np.int64)  # (n,)
    records = iter(posting_lists.split(posting_lists.pack(rows, vectors), width))
    return [
        (_id_bytes(delta.item), delta.row, "", b"", 0)
        if delta.op == "delete"
        else (_id_bytes(delta.item), delta.row, str(delta.node), next(records), delta.expires_at)
        for delta in deltas
    ]


def _id_bytes(item: str) -> bytes:
    return item.encode(errors="surrogateescape")
