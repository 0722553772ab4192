"""The picture of a version: as base and deltas have it, and as leaves, item map and expiry set have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.indexer.assign.catalogue_sync import catch_up
from hsnn.indexer.store import streams
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.posting_lists import LeafSlot
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.shards import VersionShard
from hsnn.indexer.store.streams import STREAM_START
from hsnn.indexer.store.version import Version
from hsnn.indexer.store.writer import RecordLocation

_PAGE = 5000  # entries of a hash or set that are looked at in one go


class ExpectedItem(NamedTuple):
    """Where base and deltas have an item: its row, its leaf, the end of its life (0 = none)."""

    row: int
    leaf: int
    expires_at: int


class Discrepancies(NamedTuple):
    """Items, or leaves, by kind of damage; see `hsnn.indexer.verify.verify.VerifyReport`."""

    missing: set[str]
    extra: set[str]
    misplaced: set[str]
    unposted: set[str]
    stray: set[str]
    misdated: set[str]
    damaged: set[str]


class ConsistencyCheck:
    """A version in all its forms; `refresh` brings them up to date.

    Nothing is locked: what deltas change while leaves, map and set are read page by page is left to the next look.

    Parameters
    ----------
    reader
        Where the version is.
    number
        The version.

    Attributes
    ----------
    version
        Its manifest, snapshot and nodes, without vectors.
    expected
        Items by base and deltas.
    item_map
        Places by the item map; (-1, -1) for what cannot be read.
    ends
        Ends by the expiry set.
    records
        Records of rows that are in a leaf.
    damaged
        Shard and leaf where bytes are missing or others than were written: no record in it counts.
    vectors
        Packed vectors that deltas brought, by item.
    """

    def __init__(self, reader: IndexReader, number: int) -> None:
        self.number, self._reader = number, reader
        self.version: Version = reader.load_version(number, vectors=False)
        snapshot, nodes = self.version.snapshot, self.version.index.nodes
        self._catalogue = ItemCatalogue(snapshot)
        ends = snapshot.items["expires_at"]
        self.expected = {
            snapshot.item_ids[row]: ExpectedItem(row, int(nodes[row]), int(ends[row]))
            for row in np.flatnonzero(nodes >= 0).tolist()
        }
        self.names = dict(enumerate(snapshot.item_ids))
        self.item_map: dict[str, LeafSlot] = {}
        self.expires_at: dict[str, int] = {}
        self.records: list[RecordLocation] = []
        self.damaged: set[tuple[int, int | str]] = set()
        self.vectors: dict[str, bytes] = {}
        self._seen = dict.fromkeys(reader.shards(number), STREAM_START)
        self._moving: set[str] = set()

    def refresh(self) -> None:
        """Read everything anew; the catalogue is at least as old as the rest."""
        catch_up(self._catalogue, self._reader)
        self.item_map, self.expires_at, self.records, self.damaged, self._moving = {}, {}, [], set(), set()
        for part in self._seen:
            self._replay(part)
            self._scan(part)
            self._moving |= {delta.item for _, delta in self._news(part)}

    def discrepancies(self) -> Discrepancies:
        """Tell what of leaves, map and set differs from base and deltas."""
        theirs, ours = self.expected, self.item_map
        posted, stray = self._posted()
        misplaced = {item for item in theirs.keys() & ours.keys() if not self._is_at(item, posted.get(item))}
        ends = {item: placed.expires_at for item, placed in theirs.items() if placed.expires_at > 0}
        found = Discrepancies(
            missing=theirs.keys() - ours.keys(),
            extra=ours.keys() - theirs.keys(),
            misplaced=misplaced,
            unposted=theirs.keys() - posted.keys(),
            stray=stray,
            misdated={item for item, _ in ends.items() ^ self.expires_at.items()},
            damaged={f"leaf {leaf}, shard {shard}" for shard, leaf in self.damaged},
        )
        return Discrepancies(*(kind - self._moving for kind in found))

    def catalogue_discrepancies(self) -> tuple[list[str], list[str], bool]:
        """Items that are indexed and must not be, those that must be and are not, and whether that was looked for."""
        if self._reader.current() != self.number:
            return [], [], False
        catalogue = self._catalogue
        alive, known = catalogue.alive_mask(), catalogue.known[: len(catalogue)]  # (rows,)
        living = {catalogue.ids[row] for row in np.flatnonzero(alive)}
        dead = {catalogue.ids[row] for row in np.flatnonzero(known & ~alive)}
        stale = (dead - living) & (self.expected.keys() | self.item_map.keys())
        return sorted(stale), sorted(living - self.expected.keys()), True

    def item_of(self, row: int) -> str:
        """Id of a row's item, or that it is unknown."""
        return self.names.get(row) or f"row {row}"

    def _posted(self) -> tuple[dict[str, LeafSlot], set[str]]:
        """Place of the record of each item that has one in its leaf, and the items of all other records."""
        posted: dict[str, LeafSlot] = {}
        stray: set[str] = set()
        for record in self.records:
            item = self.item_of(record.row)
            placed, place = self.expected.get(item), self.item_map.get(item)
            if placed is None or placed.row != record.row or placed.leaf != record.leaf:
                stray.add(item)
                continue
            if (record.shard, record.leaf) in self.damaged:
                continue
            if item in posted:
                stray.add(item)
            if item not in posted or place == (record.leaf, record.slot):
                posted[item] = LeafSlot(placed.leaf, record.slot)
        return posted, stray

    def _is_at(self, item: str, posted: LeafSlot | None) -> bool:
        """Whether the map has an item in its leaf, at its record if it has one."""
        place = self.item_map[item]
        return place.leaf == self.expected[item].leaf and posted in (None, place)

    def _replay(self, part: VersionShard) -> None:
        for at, delta in self._news(part):
            self._seen[part] = at
            if delta.op == "superseded":
                continue
            self.names[delta.row] = delta.item
            if delta.op == "delete":
                self.expected.pop(delta.item, None)
            else:
                self.expected[delta.item] = ExpectedItem(delta.row, delta.node, delta.expires_at)
                self.vectors[delta.item] = delta.packed

    def _news(self, part: VersionShard) -> Iterator[tuple[str, Delta]]:
        for entry in streams.scan_entries(self._reader.redis, part.delta_stream, self._seen[part]):
            yield entry.id, Delta.decode(entry.fields[b"d"])

    def _scan(self, part: VersionShard) -> None:
        redis: Any = self._reader.redis
        for item, place in redis.hscan_iter(part.item_map, count=_PAGE):
            self.item_map[_text(item)] = LeafSlot.parse(place)
        for item, end in redis.zscan_iter(part.expiry_set, count=_PAGE):
            self.expires_at[_text(item)] = int(end)
        for name, records in self._reader.leaves(part, self.version.manifest):
            last = name.rpartition(":")[2]
            leaf = int(last) if last.isdigit() else last
            inside = np.flatnonzero(records.rows >= 0).tolist()
            self.records += [RecordLocation(part.shard, leaf, slot, int(records.rows[slot])) for slot in inside]
            if not records.intact:
                self.damaged.add((part.shard, leaf))


def _text(item: bytes) -> str:
    return item.decode(errors="surrogateescape")
