"""Repair: all that `indexer.verify` finds in a version is mended, under the lease."""

from __future__ import annotations

from indexer.assignment import MakeEncoder, snapshot_encoder
from indexer.builder import Builder
from indexer.by_hand import audit_of, in_office
from indexer.config import IndexerConfig
from indexer.leader import Leader
from indexer.placing import Placing
from indexer.verify import Picture, VerifyReport, lasting
from streaming.redis_client import Redis


def repair(
    redis: Redis, number: int, config: IndexerConfig, make_encoder: MakeEncoder = snapshot_encoder
) -> tuple[VerifyReport, VerifyReport]:
    """Mend all that `verify` finds in a version; return what was found before and after.

    What should be indexed is written as deltas, so that readers follow, by the step that a new leader begins with; then
    the item map is set to what base and deltas say.

    Raises
    ------
    VersionGoneError
        There is no such version.
    FencedError
        The lease went to somebody else meanwhile; what was written is right, the rest is not mended.
    """
    with in_office(redis, config) as store:
        picture = Picture(store, number)
        before = picture.look()
        if before.judged:
            Leader(store, Builder(store, make_encoder, config.encode_chunk, Placing.of(config))).resume()
            picture.look()
        wrong = {*picture.expected.items()} ^ {*picture.item_map.items()}
        store.mend(number, {item: picture.expected.get(item) for item in sorted({item for item, _ in wrong})})
        after = lasting(before, picture.look())
        outcome = "done" if after.clean else "failed"
        audit_of(store).record("repair", outcome=outcome, version=number, found=before.counts, left=after.counts)
    return before, after
