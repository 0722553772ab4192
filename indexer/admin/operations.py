"""What a person does to the index beside a running scheduler: take its office, roll back, hold publishing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from redis.exceptions import RedisError

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.control import ask
from hsnn.indexer.store.lease import Lease, default_owner
from hsnn.indexer.store.publish_hold import Hold, lift, new_hold, place
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)


@contextmanager
def in_office(redis: Redis, config: IndexerConfig) -> Iterator[IndexStore]:
    """Take the lease by force, keep it, and give it back: the leader is fenced, and afterwards leads again."""
    lease, over = Lease(redis, config.lease_ttl, shards=config.shards), Event()
    lease.take(by_force=True)
    keeper = Thread(target=_keep, args=(lease, over, config.lease_ttl / 5), name="lease", daemon=True)
    keeper.start()
    try:
        yield IndexStore(redis, lease, chunk=config.write_chunk)
    finally:
        over.set()
        keeper.join()
        lease.release()


def rollback(redis: Redis, number: int, config: IndexerConfig, hold: str = "") -> None:
    """Flip readers back to version `number`; with a reason to `hold`, publishing is held from that moment on.

    The leader goes on from the older version. Without a hold the trainer's next snapshot leads to a new version.

    Raises
    ------
    RollbackError
        The version cannot be rolled back to; nothing is held.
    """
    with in_office(redis, config) as store:
        held = new_hold(hold) if hold else None
        store.rollback(number, held)
        audit = audit_of(store)
        audit.record("rollback", outcome="done", version=number)
        if held is not None:
            audit.record("hold", outcome="done", version=number, reason=held.reason, by=held.by)


def hold(redis: Redis, reason: str) -> Hold:
    """Hold publishing: what is being built now is not flipped to, either; deltas go on."""
    reader = IndexReader(redis)
    held = new_hold(reason)
    place(reader, held)
    audit_of(reader).record("hold", outcome="done", version=reader.current(), reason=reason, by=held.by)
    ask(reader, "run", "refresh")  # and the leader looks at the hold
    return held


def release(redis: Redis) -> bool:
    """End the hold and have the newest snapshot published; return whether there was a hold."""
    reader = IndexReader(redis)
    lifted = lift(reader)
    if lifted:
        audit_of(reader).record("release", outcome="done", version=reader.current(), by=default_owner())
        ask(reader, "run", "refresh")  # and the leader looks at the hold
    return lifted


def audit_of(reader: IndexReader) -> AuditTrail:
    """Open the audit trail of an index."""
    return AuditTrail(reader.redis, reader.key("audit"))


def _keep(lease: Lease, over: Event, every: float) -> None:
    while not over.wait(every):
        try:
            if not lease.renew():
                return
        except RedisError as error:
            _log.warning("the lease cannot be renewed (%s)", error)
