"""ConsistencyCheck: compare base and deltas of a version with its leaves, item map and expiry set."""

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

# Entries of a hash or set fetched at once: some hundred kilobytes.
_PAGE = 5000


class ExpectedItem(NamedTuple):
    """An item by base and deltas: its row, its leaf, when it expires (ms of event time, 0 = never)."""

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
    """A version in all its forms; `refresh` reads them.

    Nothing is locked: items that deltas change while the pages of leaves, map and set are read are not judged.

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
        Leaf and slot by the item map; (-1, -1) for entries that cannot be read.
    ends
        Times of expiry by the expiry set.
    records
        Records of items that are in a leaf.
    damaged
        Shard and leaf of posting lists with missing or damaged bytes: no record in them counts.
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
        self._positions = dict.fromkeys(reader.shards(number), STREAM_START)
        self._moving: set[str] = set()

    def refresh(self) -> None:
        """Read everything again; the catalogue first, so that it is at least as old as the rest."""
        catch_up(self._catalogue, self._reader)
        self.item_map, self.expires_at, self.records, self.damaged, self._moving = {}, {}, [], set(), set()
        for shard in self._positions:
            self._replay(shard)
            self._scan(shard)
            self._moving |= {delta.item for _, delta in self._new_deltas(shard)}

    def discrepancies(self) -> Discrepancies:
        """Return the differences of leaves, map and set from base and deltas."""
        expected, mapped = self.expected, self.item_map
        posted, stray = self._posted()
        in_both = expected.keys() & mapped.keys()
        expiring = {item: placed.expires_at for item, placed in expected.items() if placed.expires_at > 0}
        kinds = Discrepancies(
            missing=expected.keys() - mapped.keys(),
            extra=mapped.keys() - expected.keys(),
            misplaced={item for item in in_both if not self._is_at(item, posted.get(item))},
            unposted=expected.keys() - posted.keys(),
            stray=stray,
            misdated={item for item, _ in expiring.items() ^ self.expires_at.items()},
            damaged={f"leaf {leaf}, shard {shard}" for shard, leaf in self.damaged},
        )
        return Discrepancies(*(kind - self._moving for kind in kinds))

    def catalogue_discrepancies(self) -> tuple[list[str], list[str], bool]:
        """Return items that are indexed wrongly, items that should be indexed, and whether either was checked."""
        if self._reader.current() != self.number:
            return [], [], False
        catalogue = self._catalogue
        alive, known = catalogue.alive_mask(), catalogue.known[: len(catalogue)]  # (rows,)
        alive_items = {catalogue.ids[row] for row in np.flatnonzero(alive)}
        gone = {catalogue.ids[row] for row in np.flatnonzero(known & ~alive)}
        arrival = self._reader.arrival()
        if arrival.watermark == catalogue.watermark:  # only the leader knows which of them it has obeyed
            undecided = {catalogue.ids[row] for row in catalogue.passed_in_quiet(arrival.silent_ms).tolist()}
            gone, alive_items = gone - undecided, alive_items - undecided
        stale = (gone - alive_items) & (self.expected.keys() | self.item_map.keys())
        return sorted(stale), sorted(alive_items - self.expected.keys()), True

    def item_of(self, row: int) -> str:
        """Return the id of a row's item; ``row N`` if it is unknown."""
        return self.names.get(row) or f"row {row}"

    def _posted(self) -> tuple[dict[str, LeafSlot], set[str]]:
        """Return the location of each item's record in its leaf, and the items of all other records."""
        posted: dict[str, LeafSlot] = {}
        stray: set[str] = set()
        for record in self.records:
            item = self.item_of(record.row)
            expected, location = self.expected.get(item), self.item_map.get(item)
            if expected is None or expected.row != record.row or expected.leaf != record.leaf:
                stray.add(item)
                continue
            if (record.shard, record.leaf) in self.damaged:
                continue
            if item in posted:
                stray.add(item)
            if item not in posted or location == (record.leaf, record.slot):
                posted[item] = LeafSlot(expected.leaf, record.slot)
        return posted, stray

    def _is_at(self, item: str, posted: LeafSlot | None) -> bool:
        """Tell whether the map has an item in its leaf, and at its record if it has one."""
        location = self.item_map[item]
        return location.leaf == self.expected[item].leaf and posted in (None, location)

    def _replay(self, shard: VersionShard) -> None:
        for position, delta in self._new_deltas(shard):
            self._positions[shard] = position
            if delta.op == "superseded":
                continue
            self.names[delta.row] = delta.item
            if delta.op == "delete":
                self.expected.pop(delta.item, None)
            else:
                self.expected[delta.item] = ExpectedItem(delta.row, delta.node, delta.expires_at)
                self.vectors[delta.item] = delta.packed

    def _new_deltas(self, shard: VersionShard) -> Iterator[tuple[str, Delta]]:
        for entry in streams.scan_entries(self._reader.redis, shard.delta_stream, self._positions[shard]):
            yield entry.id, Delta.decode(entry.fields[b"d"])

    def _scan(self, shard: VersionShard) -> None:
        redis: Any = self._reader.redis
        for item, location in redis.hscan_iter(shard.item_map, count=_PAGE):
            self.item_map[_text(item)] = LeafSlot.parse(location)
        for item, expires_at in redis.zscan_iter(shard.expiry_set, count=_PAGE):
            self.expires_at[_text(item)] = int(expires_at)
        for name, records in self._reader.leaves(shard, self.version.manifest):
            last = name.rpartition(":")[2]
            leaf = int(last) if last.isdigit() else last
            inside = np.flatnonzero(records.rows >= 0).tolist()
            self.records += [RecordLocation(shard.shard, leaf, slot, int(records.rows[slot])) for slot in inside]
            if not records.intact:
                self.damaged.add((shard.shard, leaf))


def _text(item: bytes) -> str:
    return item.decode(errors="surrogateescape")
