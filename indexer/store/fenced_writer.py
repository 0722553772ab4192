"""Writing under the lease: every change that a reader could see is a script that checks the fencing token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hsnn.indexer.errors import FencedError, HeldError, InUseError, MovedError
from hsnn.indexer.store.lease import Lease, lease_key
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.client import Redis


class FencedWriter(IndexReader):
    """Reads the index; with a lease, runs the scripts of `hsnn.indexer.store.lua_scripts`.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    lease
        Needed for writing only.
    """

    def __init__(self, redis: Redis, lease: Lease | None = None) -> None:
        super().__init__(redis)
        self._lease = lease

    @property
    def shards(self) -> int:
        """How many shards new versions have."""
        return 1 if self._lease is None else self._lease.shards

    @property
    def covered(self) -> range:
        """Shards that any version may have keys in."""
        return range(1) if self._lease is None else self._lease.covered

    def write(self, script: str, keys: Sequence[str], arguments: Sequence[Any], what: str, shard: int = 0) -> None:
        """Run a script under the lease; `keys`, all of `shard`, and `arguments` without the lease's own.

        Raises
        ------
        FencedError, MovedError, InUseError, HeldError
            Redis refused; nothing was written.
        """
        if self._lease is None:
            raise FencedError(f"{what}: this store was opened for reading; give it a lease to write")
        names = (lease_key(shard), *keys)
        answer: Any = self.redis.eval(script, len(names), *names, self._lease.value, *arguments)
        if answer != b"OK":
            raise _REFUSALS[answer](f"{what} was refused by Redis: {answer.decode().lower()}; nothing was written")


_REFUSALS: dict[bytes, Callable[[str], Exception]] = {
    b"FENCED": FencedError,
    b"MOVED": MovedError,
    b"GONE": MovedError,
    b"CURRENT": InUseError,
    b"HELD": HeldError,
}
