"""Repair: all that `hsnn.indexer.verify.verify` finds in a version is mended, under the lease."""

from __future__ import annotations

import numpy as np

from hsnn.indexer.admin.operations import audit_of, in_office
from hsnn.indexer.assign.assigner import MakeEncoder, snapshot_encoder
from hsnn.indexer.assign.capacity import Placing
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.consistency import Picture
from hsnn.indexer.verify.verify import VerifyReport, lasting, report_of
from hsnn.streaming.redis.client import Redis


def repair(
    redis: Redis, number: int, config: IndexerConfig, make_encoder: MakeEncoder = snapshot_encoder
) -> tuple[VerifyReport, VerifyReport]:
    """Mend all that `verify` finds in a version; return what was found before and after.

    What should be indexed is written as deltas, so that readers follow, by the step that a new leader begins with; then
    leaves, item map and expiry set are set to what base and deltas say. Readers may have loaded the version without the
    vectors that a leaf had lost: of these items they are told again.

    Raises
    ------
    VersionGoneError
        There is no such version.
    FencedError
        The lease went to somebody else meanwhile; what was written is right, the rest is not mended.
    """
    with in_office(redis, config) as store:
        builder = Builder(store, make_encoder, config.encode_chunk, Placing.of(config))
        picture = Picture(store, number)
        before = report_of(picture)
        leader = Leader(store, builder)
        if before.judged:
            leader.resume()
            picture.look()
        _mend(store, picture, builder)
        _tell(leader, [picture.expected[item].row for item in before.unposted if item in picture.expected])
        after = lasting(before, report_of(picture))
        outcome = "done" if after.clean else "failed"
        audit_of(store).record("repair", outcome=outcome, version=number, found=before.counts, left=after.counts)
    return before, after


def _mend(store: IndexStore, picture: Picture, builder: Builder) -> None:
    """Give up damaged leaves, rub out all records of what is wrong, and write it anew as base and deltas have it."""
    wrong = set[str]().union(*picture.wrong())
    known = sorted(wrong & (picture.expected.keys() | picture.item_map.keys() | picture.ends.keys()))
    vectors = _vectors(picture, [item for item in known if item in picture.expected], builder)
    records = [record for record in picture.records if picture.name_of(record.row) in wrong]
    store.mend(picture.number, picture.damaged, records, [_as_expected(picture, item, vectors) for item in known])


def _tell(leader: Leader, rows: list[int]) -> None:
    """Write deltas of some rows, if the version is the one in use."""
    if leader.catalogue is not None and rows:
        leader.catalogue.changed.update(rows)
        leader.settle()


def _as_expected(picture: Picture, item: str, vectors: dict[str, bytes]) -> Delta:
    placed = picture.expected.get(item)
    if placed is None:
        return Delta("delete", item=item)
    return Delta("insert", row=placed.row, item=item, node=placed.leaf, packed=vectors[item], expires_at=placed.ends)


def _vectors(picture: Picture, items: list[str], builder: Builder) -> dict[str, bytes]:
    """Packed vectors: what deltas brought; of the rest, encoded again as when the version was made."""
    snapshot = picture.version.snapshot
    rows = [picture.expected[item].row for item in items if item not in picture.vectors]
    tokens = snapshot.items["tokens"][rows]  # (n, T)
    encoded = builder.assigner(snapshot).place(np.array(rows, np.int64), tokens).vectors  # (n, W)
    again = {picture.names[row]: pack_vector(vector) for row, vector in zip(rows, encoded, strict=True)}
    return again | {item: picture.vectors[item] for item in items if item in picture.vectors}
