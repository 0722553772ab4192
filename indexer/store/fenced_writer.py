"""FencedWriter: every change that a reader could see is a script that checks the fencing token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hsnn.indexer.errors import FencedError, PublishHeldError, VersionChangedError, VersionInUseError
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
    def shard_count(self) -> int:
        """Number of shards of new versions."""
        return 1 if self._lease is None else self._lease.shard_count

    @property
    def covered_shards(self) -> range:
        """Shards that any version may have keys in."""
        return range(1) if self._lease is None else self._lease.covered_shards

    def run_script(
        self, script: str, *, keys: Sequence[str], arguments: Sequence[Any] = (), purpose: str, shard: int = 0
    ) -> None:
        """Run a script under the lease.

        Parameters
        ----------
        script
            One of `hsnn.indexer.store.lua_scripts`.
        keys, arguments
            Without the lease's own, which come first; all keys lie in `shard`.
        purpose
            What is done, for the text of an error.
        shard
            Where it is done.

        Raises
        ------
        FencedError, VersionChangedError, VersionInUseError, PublishHeldError
            Redis refused; nothing was written.
        """
        if self._lease is None:
            raise FencedError(f"{purpose}: this store was opened for reading; give it a lease to write")
        names = (lease_key(shard), *keys)
        answer: Any = self.redis.eval(script, len(names), *names, self._lease.value, *arguments)
        if answer != b"OK":
            raise _REFUSALS[answer](f"{purpose} was refused by Redis: {answer.decode().lower()}; nothing was written")


_REFUSALS: dict[bytes, Callable[[str], Exception]] = {
    b"FENCED": FencedError,
    b"MOVED": VersionChangedError,
    b"GONE": VersionChangedError,
    b"CURRENT": VersionInUseError,
    b"HELD": PublishHeldError,
}
