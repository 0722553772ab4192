"""Repair of all damage that `hsnn.indexer.verify.verify` finds in a version, under the lease."""

from __future__ import annotations

import numpy as np

from hsnn.indexer.admin.operations import leadership, open_audit_trail
from hsnn.indexer.assign.assigner import MakeEncoder, snapshot_encoder
from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.consistency import ConsistencyCheck
from hsnn.indexer.verify.verify import VerifyReport, confirm_report, run_check
from hsnn.streaming.redis.client import Redis


def repair(
    redis: Redis, number: int, config: IndexerConfig, make_encoder: MakeEncoder = snapshot_encoder
) -> tuple[VerifyReport, VerifyReport]:
    """Repair all damage that `verify` finds in a version; return the reports before and after.

    Items that should be indexed, or not, are written as deltas, so that readers follow, by the step that a new leader
    begins with. Then leaves, item map and expiry set are corrected by base and deltas. Readers may have loaded the
    version without the vectors of damaged leaves: these items are written as deltas again.

    Raises
    ------
    VersionNotFoundError
        There is no such version.
    FencedError
        The lease was lost meanwhile; what was written is right, the rest is not repaired.
    """
    with leadership(redis, config) as store:
        builder = Builder(store, make_encoder, config.encode_chunk, PlacementRules.from_config(config))
        check = ConsistencyCheck(store, number)
        before = run_check(check)
        leader = Leader(store, builder)
        if before.catalogue_checked:
            leader.resume()
            check.refresh()
        _repair_records(store, check, builder)
        _write_again(leader, [check.expected[item].row for item in before.unposted if item in check.expected])
        after = confirm_report(before, run_check(check))
        outcome = "done" if after.clean else "failed"
        open_audit_trail(store).record(
            "repair", outcome=outcome, version=number, found=before.counts, left=after.counts
        )
    return before, after


def _repair_records(store: IndexStore, check: ConsistencyCheck, builder: Builder) -> None:
    """Remove damaged leaves and all records of items that are wrong, and write these as base and deltas have them."""
    wrong = set[str]().union(*check.discrepancies())
    known = sorted(wrong & (check.expected.keys() | check.item_map.keys() | check.expires_at.keys()))
    vectors = _vectors(check, [item for item in known if item in check.expected], builder)
    records = [record for record in check.records if check.item_of(record.row) in wrong]
    store.repair(check.number, check.damaged, records, [_as_expected(check, item, vectors) for item in known])


def _write_again(leader: Leader, rows: list[int]) -> None:
    """Write deltas of `rows` again, if the version is the one in use."""
    if leader.catalogue is not None and rows:
        leader.catalogue.changed.update(rows)
        leader.reconcile()


def _as_expected(check: ConsistencyCheck, item: str, vectors: dict[str, bytes]) -> Delta:
    placed = check.expected.get(item)
    if placed is None:
        return Delta("delete", item=item)
    return Delta(
        "insert", row=placed.row, item=item, node=placed.leaf, packed=vectors[item], expires_at=placed.expires_at
    )


def _vectors(check: ConsistencyCheck, items: list[str], builder: Builder) -> dict[str, bytes]:
    """Return packed vectors: those of the deltas, the others encoded again as when the version was made."""
    snapshot = check.version.snapshot
    rows = [check.expected[item].row for item in items if item not in check.vectors]
    tokens = snapshot.items["tokens"][rows]  # (n, T)
    encoded = builder.make_assigner(snapshot).assign(np.array(rows, np.int64), tokens).vectors  # (n, W)
    again = {check.names[row]: pack_vector(vector) for row, vector in zip(rows, encoded, strict=True)}
    return again | {item: check.vectors[item] for item in items if item in check.vectors}
