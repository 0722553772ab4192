"""The lease: at most one process leads, and a former leader cannot write any more (fencing).

Every lease carries a token that only grows. The scripts that write compare the whole lease with the writer's own inside
Redis: a leader that was paused past its lease changes nothing, even if it does not know that it was.

A script can access one shard only, so each shard has its own copy of the lease. The lease of shard 0 is acquired; its
holder copies it to the other shards before it does anything else. A shard that has seen a token accepts no smaller one.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from hsnn.indexer.errors import FencedError
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

# KEYS: lease, fencing token, number of shards. ARGV: owner, time to live in ms, '1' to force, number of shards.
# Answers the lease and the most shards that any leader ever had, or nothing if another holder has it.
_ACQUIRE = """
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 1 then return false end
local lease = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[1]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
local shards = math.max(tonumber(redis.call('GET', KEYS[3]) or '1'), tonumber(ARGV[4]))
redis.call('SET', KEYS[3], shards)
return {lease, shards}
"""
# KEYS: lease and fencing token of another shard. ARGV: lease, its token, time to live in ms.
# Answers 0 if that shard has seen a larger token.
_COPY_TO_SHARD = """
if tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""
# KEYS: lease. ARGV: the holder's own lease, time to live in ms. Answers 0 if the lease is somebody else's.
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def default_owner() -> str:
    """Name this process in the lease, for people who look at it: host and process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


def lease_key(shard: int = 0) -> str:
    """Name the lease of a shard."""
    return key("lease", shard=shard)


class Lease:
    """The right to write the index, for `ttl` seconds at a time.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    ttl
        Seconds after which a lease that was not renewed is free.
    owner
        Shown to people; does not matter for safety.
    shard_count
        Number of shards of new versions. The lease covers all shards that were ever in use.
    """

    def __init__(self, redis: Redis, ttl: float, owner: str | None = None, shard_count: int = 1) -> None:
        self._redis = redis
        self.ttl = ttl
        self._ttl_ms = max(1, round(ttl * 1000))
        self._owner = owner or default_owner()
        self.shard_count = shard_count
        self._covered = shard_count
        self._value: str | None = None
        self._valid_until = 0.0

    def acquire(self, *, force: bool = False) -> bool:
        """Acquire the lease if it is free, or in any case with `force`; the holder until now is fenced at once."""
        asked = time.monotonic()  # before the call: the local end of validity is never later than that in Redis
        names = (lease_key(), key("fence"), key("shards"))
        arguments = (self._owner, self._ttl_ms, int(force), self.shard_count)
        acquired: Any = self._redis.eval(_ACQUIRE, len(names), *names, *arguments)
        self._value = None if acquired is None else acquired[0].decode()
        self._covered = self.shard_count if acquired is None else int(acquired[1])
        self._valid_until = asked + self._ttl_ms / 1000
        return self._value is not None and self._copy_to_shards()

    def renew(self) -> bool:
        """Extend the lease by another `ttl`; False if it was lost, for good."""
        if self._value is None:
            return False
        asked = time.monotonic()
        arguments = (self._value, self._ttl_ms)
        if not self._redis.eval(_RENEW, 1, lease_key(), *arguments):
            self._value = None
            return False
        self._valid_until = asked + self._ttl_ms / 1000
        return self._copy_to_shards()

    def release(self) -> None:
        """Release the lease if it is still held."""
        value, self._value = self._value, None
        if value is not None:
            for shard in reversed(self.covered_shards):  # shard 0 last: until then nobody else can acquire it
                self._redis.eval(_RELEASE, 1, lease_key(shard), value)

    @property
    def covered_shards(self) -> range:
        """Shards that the lease is valid in."""
        return range(self._covered)

    def _copy_to_shards(self) -> bool:
        for shard in self.covered_shards[1:]:
            names = (lease_key(shard), key("fence", shard=shard))
            arguments = (self.value, self.token, self._ttl_ms)
            if not self._redis.eval(_COPY_TO_SHARD, len(names), *names, *arguments):
                self._value = None
                return False
        return True

    @property
    def held(self) -> bool:
        """Whether the lease is still valid, as far as this process can tell without asking Redis."""
        return self._value is not None and time.monotonic() < self._valid_until

    @property
    def token(self) -> int:
        """The fencing token; larger than that of every lease before."""
        return int(self.value.partition(":")[0])

    @property
    def value(self) -> str:
        """What the `lease_key` of a shard must hold for a write to be let through.

        Raises
        ------
        FencedError
            The lease is not held.
        """
        if self._value is None:
            raise FencedError(f"{self._owner} does not hold the lease {lease_key()}: another scheduler may lead")
        return self._value
