"""The lease: at most one scheduler leads, and a former leader cannot write any more (fencing).

Every lease carries a token that only grows. The scripts that write compare the whole lease with the writer's own,
inside Redis: a leader that was paused past its lease, even without knowing, changes nothing.

A script can look at one shard only, so each has the lease. That of shard 0 is taken; the others are copies, handed on
by its holder before it does anything else. A shard that has seen a token takes no smaller one.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from hsnn.indexer.errors import FencedError
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

_TAKE = """
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 1 then return false end
local lease = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[1]
redis.call('SET', KEYS[1], lease, 'PX', ARGV[2])
local shards = math.max(tonumber(redis.call('GET', KEYS[3]) or '1'), tonumber(ARGV[4]))
redis.call('SET', KEYS[3], shards)
return {lease, shards}
"""
_HAND_ON = """
if tonumber(redis.call('GET', KEYS[2]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def default_owner() -> str:
    """Name this process for people who look at the lease: host and process id."""
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
        Seconds after which an unrenewed lease is free.
    owner
        Shown to people; does not matter for safety.
    shards
        How many shards new versions have. The lease covers all that ever were in use.
    """

    def __init__(self, redis: Redis, ttl: float, owner: str | None = None, shards: int = 1) -> None:
        self._redis = redis
        self._ttl_ms = max(1, round(ttl * 1000))
        self._owner = owner or default_owner()
        self.shards = shards
        self._covered = shards
        self._value: str | None = None
        self._until = 0.0

    def take(self, *, by_force: bool = False) -> bool:
        """Take the lease if it is free, or in any case `by_force`; a holder that is pushed out is fenced at once."""
        asked = time.monotonic()
        names = (lease_key(), key("fence"), key("shards"))
        arguments = (self._owner, self._ttl_ms, int(by_force), self.shards)
        taken: Any = self._redis.eval(_TAKE, len(names), *names, *arguments)
        self._value = None if taken is None else taken[0].decode()
        self._covered = self.shards if taken is None else int(taken[1])
        self._until = asked + self._ttl_ms / 1000
        return self._value is not None and self._hand_on()

    def renew(self) -> bool:
        """Hold on for another `ttl`; False if the lease was lost, for good."""
        if self._value is None:
            return False
        asked = time.monotonic()
        if not self._redis.eval(_RENEW, 1, lease_key(), self._value, self._ttl_ms):
            self._value = None
            return False
        self._until = asked + self._ttl_ms / 1000
        return self._hand_on()

    def release(self) -> None:
        """Give the lease back, if it is still held."""
        value, self._value = self._value, None
        if value is not None:
            for shard in reversed(self.covered):  # shard 0 last: until then nobody else can take it
                self._redis.eval(_RELEASE, 1, lease_key(shard), value)

    @property
    def covered(self) -> range:
        """Shards that the lease is valid in."""
        return range(self._covered)

    def _hand_on(self) -> bool:
        for shard in self.covered[1:]:
            arguments = (self.value, self.token, self._ttl_ms)
            if not self._redis.eval(_HAND_ON, 2, lease_key(shard), key("fence", shard=shard), *arguments):
                self._value = None
                return False
        return True

    @property
    def held(self) -> bool:
        """Whether, as far as this process can tell without asking, the lease still holds."""
        return self._value is not None and time.monotonic() < self._until

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
