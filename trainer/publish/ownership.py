"""Ownership: one trainer at a time writes to Redis; a former one is fenced off, even if it does not know that it was.

The owner's name, with a token that only grows, stays in Redis. Every write that a reader can see is a script that
compares it with the writer's own. A lease beside it, renewed by a thread, says whether the owner is alive: while it is,
a second trainer is refused at its start.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from threading import Event
from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from hsnn.monitoring.metrics import CLOCK_AHEAD
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.clock import ClockWatch
from hsnn.streaming.redis.keys import key
from hsnn.streaming.redis.lease_keeper import LeaseKeeper
from hsnn.trainer.errors import OwnershipError

_log = logging.getLogger(__name__)

# Seconds for which an owner is taken for alive after its last renewal; a trainer of another folder waits that long.
_LEASE_SECONDS = 10.0

# Seconds between two attempts to become the owner at the start.
_POLL_SECONDS = 0.1

# How the error of a fenced write begins.
_FENCED = "FENCED"

# KEYS: owner, lease, epoch. ARGV: name, milliseconds of the lease, smallest epoch that is too small, '1' to take over,
# owner that is known to be dead. Answers the new owner, or nothing and the living one with its milliseconds.
_CLAIM = """
local living = redis.call('GET', KEYS[2])
if living and ARGV[4] == '0' and living ~= ARGV[5] then return {'', living, redis.call('PTTL', KEYS[2])} end
local epoch = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), tonumber(ARGV[3])) + 1
local owner = string.format('%.0f', epoch) .. ':' .. ARGV[1]
redis.call('SET', KEYS[3], string.format('%.0f', epoch))
redis.call('SET', KEYS[1], owner)
redis.call('SET', KEYS[2], owner, 'PX', ARGV[2])
return {owner}
"""
# KEYS: owner, the key that is written. ARGV: the writer as owner, a command, its arguments after the key.
_WRITE = """
local owner = redis.call('GET', KEYS[1])
if owner ~= ARGV[1] then return redis.error_reply('FENCED ' .. (owner or '')) end
return redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
"""
# KEYS: owner, lease. ARGV: the writer as owner, milliseconds.
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
return redis.status_reply('OK')
"""
# KEYS: lease. ARGV: the writer as owner.
_RELEASE = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return redis.status_reply('OK')"
)


class Owner(NamedTuple):
    """The trainer that may write: its fencing token, which is the epoch that it began with, and its name."""

    token: int
    name: str

    @classmethod
    def parse(cls, value: bytes | str | None) -> Owner:
        """Read the value of the key; without one, an owner with token 0."""
        text = value.decode() if isinstance(value, bytes) else value or ""
        token, _, name = text.partition(":")
        return cls(int(token or 0), name)

    @property
    def where(self) -> str:
        """Host and process id, for people."""
        return self.name.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.token}:{self.name}"


def owner_key() -> str:
    """Name the key of the owner."""
    return key("trainer", "owner")


def lease_key() -> str:
    """Name the key that says that the owner is alive."""
    return key("trainer", "lease")


class Ownership:
    """The right to write as the trainer.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # The last part makes a name unique: after a restart a container may have the same host and process id.
        self._name = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self.owner = Owner(0, "")
        self._keeper: LeaseKeeper | None = None

    def claim(self, *, take_over: bool = False, dead: str = "", last_epoch: int = 0) -> int:
        """Become the owner if there is no living one, in any case with `take_over`; return the epoch that begins.

        Parameters
        ----------
        dead
            An owner that has ended for certain, whatever its lease says.
        last_epoch
            The new epoch is larger, even if Redis has lost the last ones.

        Raises
        ------
        OwnershipError
            Another trainer is alive.
        """
        names = (owner_key(), lease_key(), key("epoch"))
        arguments = (self._name, round(1000 * _LEASE_SECONDS), last_epoch, int(take_over), dead)
        answer: Any = self._redis.eval(_CLAIM, len(names), *names, *arguments)
        if not answer[0]:
            living = Owner.parse(answer[1])
            raise OwnershipError(
                f"the trainer {living.where} (epoch {living.token}) writes to this Redis, and there can be one only; "
                "stop it first, or start this one with --take-over, which ends the other one at its next write. "
                "For a second catalogue, set another redis.prefix"
            )
        self.owner = Owner.parse(answer[0])
        return self.owner.token

    def wait_and_claim(self, *, take_over: bool = False, dead: str = "") -> int:
        """Claim, or wait while the lease of a trainer that has ended may last; then keep the lease by a thread.

        Raises
        ------
        OwnershipError
            The other trainer has renewed its lease meanwhile: it is alive.
        """
        deadline, told = time.monotonic() + _LEASE_SECONDS, False
        while True:
            try:
                epoch = self.claim(take_over=take_over, dead=dead)
                break
            except OwnershipError:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    _log.warning("another trainer may be alive; waiting up to %g s for it to end", _LEASE_SECONDS)
                told = True
                time.sleep(_POLL_SECONDS)
        self._keeper = LeaseKeeper(
            _OwnerLease(self._redis, self), lost=Event(), on_renewal=ClockWatch(self._redis, CLOCK_AHEAD.set).check
        )
        self._keeper.start()
        return epoch

    def write(self, command: str, name: str, *arguments: Any) -> Any:
        """Call a Redis command whose first argument is the key `name`, if this is still the owner.

        Raises
        ------
        OwnershipError
            Another trainer has taken over, so that this one must end.
        LookupError
            Redis does not know this owner, nor a later one: it has lost its data. `claim` again and publish everything.
        """
        try:
            return self._redis.eval(_WRITE, 2, owner_key(), name, str(self.owner), command, *arguments)
        except ResponseError as error:
            if not str(error).startswith(_FENCED):
                raise
            other = Owner.parse(str(error).removeprefix(_FENCED).strip())
        if other.name == self.owner.name:  # another thread of this process has claimed again
            self.owner = other
            return self.write(command, name, *arguments)
        if other.token <= self.owner.token:
            raise LookupError(f"{owner_key()} is {str(other)!r}, no later than {self.owner}")
        raise OwnershipError(
            f"the trainer {other.where} has taken over (epoch {other.token}; this one began with {self.owner.token}), "
            "so this one, which must not write any more, ends. If that was a mistake, stop the other one and start "
            "this one again"
        )

    def release(self) -> None:
        """Say that this trainer has ended, so that the next one need not wait."""
        if self._keeper is not None:
            self._keeper.stop()


class _OwnerLease:
    """The lease that says that an owner is alive.

    It is kept for as long as the process runs, whatever a renewal says: a trainer that has lost the right to write
    learns so by its next write, and one that Redis has forgotten claims it again there.
    """

    held = True

    def __init__(self, redis: Redis, ownership: Ownership) -> None:
        self._redis, self._ownership = redis, ownership
        self.ttl = _LEASE_SECONDS

    def renew(self) -> bool:
        """Extend the lease where the owner is still this one."""
        arguments = (str(self._ownership.owner), round(1000 * self.ttl))
        self._redis.eval(_RENEW, 2, owner_key(), lease_key(), *arguments)
        return True

    def release(self) -> None:
        """End the lease now, if it is the owner's."""
        try:
            self._redis.eval(_RELEASE, 1, lease_key(), str(self._ownership.owner))
        except RedisError as error:
            _log.warning("the lease of the trainer could not be released (%s); it ends in %g s", error, self.ttl)
