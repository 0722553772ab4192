"""Places of images: which image is read now, and who reads it, in memory that all workers of a server share.

There are two places for images. Readers take that in front; the writer changes the other one once its last reader has
left it. What a reader does takes a lock of its own, which the writer takes for a moment when it looks for readers: so
readers never wait for each other, and the kernel lets go of the lock of one that is killed.
"""

from __future__ import annotations

import fcntl
import mmap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from hsnn.serving.sharing.arena import Arena, Span
from hsnn.serving.sharing.image import Image

# The image of a place: its number (0: none), where it is, and how long it and the list of its blocks behind it are.
_PLACE = np.dtype([("number", np.int64), ("start", np.int64), ("size", np.int64), ("listed", np.int64)])

# Seconds between two looks for readers that the writer waits for: a request takes about as long.
_LOOK = 0.0005


class Published(NamedTuple):
    """An image in its place: its number, which rises, and where it is in the arena, bytes."""

    number: int
    start: int
    size: int


class SharedPlaces:
    """Two places for images, and readers of each by worker. It has to be made before the processes are forked.

    Parameters
    ----------
    folder
        Gets a lock file for each worker.
    """

    def __init__(self, workers: int, arena: Arena, folder: Path) -> None:
        self.arena, self._workers = arena, workers
        self._places = np.frombuffer(mmap.mmap(-1, 2 * _PLACE.itemsize), _PLACE)
        self._front = np.frombuffer(mmap.mmap(-1, 8), np.int64)
        self._readers = np.frombuffer(mmap.mmap(-1, 2 * 8 * workers), np.int64).reshape(workers, 2)
        self._files = [folder / f"mirror-{worker}.lock" for worker in range(workers)]
        for file in self._files:
            file.touch()

    def open(self, worker: int) -> PlaceReader:
        """Return what a worker reads with."""
        return PlaceReader(self, worker, lock_file=self._files[worker].open("rb"))

    def lock_files(self) -> list[IO[bytes]]:
        """Open the lock files of all workers: a lock is that of an opened file, which processes must not share."""
        return [file.open("rb") for file in self._files]

    @property
    def front(self) -> int:
        """The place that is read."""
        return int(self._front[0])

    def published(self, place: int) -> Published | None:
        """Return the image in a place; None: there is none."""
        number, start, size, _ = self._places[place].tolist()
        return Published(number, start, size) if number else None

    def blocks(self, place: int) -> frozenset[Span]:
        """Return the blocks of the image in a place, that of the image included."""
        number, start, size, listed = self._places[place].tolist()
        if not number:
            return frozenset()
        blocks = np.frombuffer(self.arena.read(start + size, listed), np.int64).reshape(-1, 2)
        return frozenset([self.arena.block_at(start, size + listed), *(Span(*block) for block in blocks.tolist())])

    def put(self, place: int, image: Image) -> frozenset[Span]:
        """Put an image in a place that nobody reads; return all blocks that it takes."""
        listed = np.array(list(image.blocks), np.int64).tobytes()
        block = self.arena.write(image.data + listed)
        number = int(self._places["number"].max()) + 1
        self._places[place] = (number, block.start, len(image.data), len(listed))
        return image.blocks | {block}

    def flip(self, place: int) -> None:
        """Let readers that come from now on read a place."""
        self._front[0] = place

    def forget(self, worker: int) -> None:
        """Forget what a worker was reading that has ended."""
        self._readers[worker] = 0

    def wait_until_left(self, place: int, locks: list[IO[bytes]]) -> None:
        """Return once nobody reads a place that is not in front."""
        for worker, lock in enumerate(locks):
            while not self._has_left(worker, place, lock):
                time.sleep(_LOOK)

    def _has_left(self, worker: int, place: int, lock: IO[bytes]) -> bool:
        if self._readers[worker, place]:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it comes or goes at this moment, or was stopped there
            return False
        try:
            return not self._readers[worker, place]
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    def count(self, worker: int, place: int, step: int) -> None:
        """Count a reader that comes or goes. Called inside the worker's lock."""
        self._readers[worker, place] += step


class PlaceReader:
    """Readers of one worker, in any number of threads."""

    def __init__(self, places: SharedPlaces, worker: int, lock_file: IO[bytes]) -> None:
        self._shared, self._worker, self._lock_file = places, worker, lock_file
        self._lock = threading.Lock()  # a lock of a file is one for all threads

    def enter(self) -> int:
        """Return the place in front, whose image stays as it is until `leave`."""
        with self._locked():
            place = self._shared.front
            self._shared.count(self._worker, place, 1)
            return place

    def leave(self, place: int) -> None:
        """End what `enter` began."""
        with self._locked():
            self._shared.count(self._worker, place, -1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)
