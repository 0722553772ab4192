"""Token buckets that all workers of a server take from, so that a rate is what it says however many they are."""

from __future__ import annotations

import fcntl
import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO

import numpy as np

from hsnn.serving.api.token_bucket import TokenBucket

# Sets of the table of addresses, and places in each: 20,000 addresses fill it to three tenths, so that hardly any set
# has more than its places. It takes 1.6 MB.
_SETS, _WAYS = 8192, 8

# A bucket: the hash of its name (0: free), what is left, and when that was, monotonic seconds.
_PLACE = np.dtype([("hash", np.uint64), ("left", np.float64), ("at", np.float64)])


class SharedRates:
    """Table of buckets by name, in shared memory. It has to be made before the processes are forked that share it.

    Named buckets have places of their own. The others, those of addresses, have the places that their hash leads to,
    of which the one that was silent longest is given up: it is full again, unless thousands are used at once.

    Parameters
    ----------
    names
        Buckets that are never given up.
    lock_file
        Created. A process that is killed lets go of its lock.
    sets
        Of places for addresses.
    """

    def __init__(
        self,
        names: Sequence[str],
        lock_file: Path,
        clock: Callable[[], float] = time.monotonic,
        sets: int = _SETS,
    ) -> None:
        self._sets = sets
        self._named = {name: place for place, name in enumerate(names)}
        places = len(names) + sets * _WAYS
        self._places = np.frombuffer(mmap.mmap(-1, places * _PLACE.itemsize), _PLACE)
        self._lock_file, self._clock = lock_file, clock
        lock_file.touch()

    def open(self) -> Callable[[str, float], TokenBucket]:
        """Return what makes the buckets of this process, which uses them in one thread."""
        lock = self._lock_file.open("rb")  # a lock is that of an opened file: processes must not share one

        def new_bucket(name: str, rate: float) -> TokenBucket:
            return SharedBucket(self, name, rate, clock=self._clock, lock=lock)

        return new_bucket

    @contextmanager
    def locked(self, lock: IO[bytes]) -> Iterator[None]:
        """Keep other processes out."""
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    def load(self, name: str, key: int) -> tuple[float, float] | None:
        """Return what is left in a bucket and since when; None if it is new here. Called inside `locked`."""
        place = self._places[self._find(name, key)]
        return (float(place["left"]), float(place["at"])) if int(place["hash"]) == key else None

    def store(self, name: str, key: int, left: float, at: float) -> None:
        """Write what is left in a bucket. Called inside `locked`."""
        self._places[self._find(name, key)] = (key, left, at)

    def _find(self, name: str, key: int) -> int:
        named = self._named.get(name)
        if named is not None:
            return named
        start = len(self._named) + key % self._sets * _WAYS
        ways = self._places[start : start + _WAYS]
        same = np.flatnonzero(ways["hash"] == key)
        return start + int(same[0] if len(same) else np.argmin(ways["at"]))


class SharedBucket(TokenBucket):
    """A bucket whose contents are in the table.

    Parameters
    ----------
    rates
        The table.
    name
        Of the bucket.
    lock
        The lock file, opened by this process.
    """

    def __init__(
        self, rates: SharedRates, name: str, rate: float, *, clock: Callable[[], float], lock: IO[bytes]
    ) -> None:
        super().__init__(rate, clock)
        self._rates, self._name, self._lock = rates, name, lock
        self._key = int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()) or 1

    def take(self, count: int) -> float:
        """Take so many; return 0, or the seconds until the next may be sent, and take none."""
        with self._shared():
            return super().take(count)

    def charge(self, count: int) -> None:
        """Take so many of what an admitted call has used, into debt if need be."""
        with self._shared():
            super().charge(count)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Work on the contents of the table."""
        with self._rates.locked(self._lock):
            known = self._rates.load(self._name, self._key)
            self._left, self._at = known or (self._burst, self._clock())
            yield
            self._rates.store(self._name, self._key, self._left, self._at)
