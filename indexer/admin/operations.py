"""Operations beside a running scheduler: take over leadership, roll back, hold and release publishing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.control import ControlOp, send_request
from hsnn.indexer.jobs.history import REFRESH
from hsnn.indexer.store.lease import Lease, default_owner
from hsnn.indexer.store.publish_hold import PublishHold, lift_hold, new_hold, place_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.lease_keeper import LeaseKeeper


@contextmanager
def leadership(redis: Redis, config: IndexerConfig) -> Iterator[IndexStore]:
    """Acquire the lease by force, keep it, and release it: the leader is fenced, and leads again afterwards."""
    lease = Lease(redis, config.lease_ttl, shard_count=config.shards)
    lease.acquire(force=True)
    with LeaseKeeper(lease, lost=Event()):
        yield IndexStore(redis, lease, chunk=config.write_chunk)


def rollback(redis: Redis, number: int, config: IndexerConfig, hold: str = "") -> None:
    """Flip readers back to version `number`; with a reason to `hold`, publishing is held from that moment on.

    The leader goes on from the older version. Without a hold the trainer's next snapshot leads to a new version.

    Raises
    ------
    RollbackError
        The version cannot be rolled back to; nothing is held.
    """
    with leadership(redis, config) as store:
        publish_hold = new_hold(hold) if hold else None
        store.rollback(number, publish_hold)
        audit = open_audit_trail(store)
        audit.record("rollback", outcome="done", version=number)
        if publish_hold is not None:
            audit.record("hold", outcome="done", version=number, reason=publish_hold.reason, by=publish_hold.by)


def hold_publishing(redis: Redis, reason: str) -> PublishHold:
    """Hold publishing: a version that is being built now is not flipped to, either; deltas go on."""
    reader = IndexReader(redis)
    hold = new_hold(reason)
    place_hold(reader, hold)
    open_audit_trail(reader).record("hold", outcome="done", version=reader.current(), reason=reason, by=hold.by)
    send_request(reader, ControlOp.RUN, REFRESH)  # handling it, the leader shows the hold in its metrics
    return hold


def release_publishing(redis: Redis) -> bool:
    """End the hold and have the newest snapshot published; return whether there was a hold."""
    reader = IndexReader(redis)
    lifted = lift_hold(reader)
    if lifted:
        open_audit_trail(reader).record("release", outcome="done", version=reader.current(), by=default_owner())
        send_request(reader, ControlOp.RUN, REFRESH)  # handling it, the leader updates its metrics, too
    return lifted


def open_audit_trail(reader: IndexReader) -> AuditTrail:
    """Open the audit trail of an index."""
    return AuditTrail(reader.redis, reader.key("audit"))
