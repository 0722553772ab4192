"""Mirrors in shared memory: one that is written, and ones that are attached to it, in other processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sharing.arena import Span
from hsnn.serving.sharing.image import ConstantName, ImageReader, ImageWriter
from hsnn.serving.sharing.places import SharedPlaces


class PublishingMirror(Mirror):
    """A mirror of two copies that other processes read as well; there is one at a time.

    One that takes the place of another leaves them what they read until it has loaded a version itself.
    """

    def __init__(self, places: SharedPlaces, engine: bool = False) -> None:
        super().__init__(engine, double_buffered=True)
        self._shared, self._locks = places, places.lock_files()
        self._images = ImageWriter(places.arena, first_number=time.monotonic_ns())
        self._front = places.front
        places.wait_until_left(1 - self._front, self._locks)
        self._taken: list[frozenset[Span]] = [frozenset(), frozenset()]
        self._taken[self._front] = places.blocks(self._front)
        places.arena.reset(self._taken[self._front])

    def _ready(self, place: int, state: EpochState) -> EpochState:
        """Put the image of a changed copy in its place, and return the copy with its arrays in shared memory."""
        before = self._taken[place]
        image = self._images.write(state.without_caches())
        self._taken[place] = self._shared.put(place, image)
        for block in before - self._taken[place] - self._taken[1 - place]:
            self._shared.arena.free(block)
        changed: EpochState = self._images.read(image.data)
        changed.items.features.continue_caches(state.items.features)
        return changed

    def _change_over(self, place: int) -> None:
        self._shared.flip(place)
        super()._change_over(place)
        self._shared.wait_until_left(1 - place, self._locks)

    def _update(self, make: Callable[[EpochState | None], EpochState]) -> None:
        super()._update(make)
        self._images.forget_originals(self._taken[0] | self._taken[1])


class AttachedMirror(Mirror):
    """A mirror that another process writes.

    Reading it may compute caches, which are of this process, but change nothing that is shared.
    """

    def __init__(self, places: SharedPlaces, worker: int) -> None:
        super().__init__(double_buffered=True)
        self._shared, self._places_read = places, places.open(worker)
        self._images = ImageReader(places.arena)
        self._numbers = [0, 0]
        self._constants: list[frozenset[ConstantName]] = [frozenset(), frozenset()]
        self._loading = threading.Lock()

    @property
    def _newest(self) -> EpochState | None:
        with self.pinned() as state:
            return state

    def _enter(self) -> int:
        place = self._places_read.enter()
        try:
            self._load(place)
        except BaseException:
            self._places_read.leave(place)
            raise
        return place

    def _leave(self, place: int) -> None:
        self._places_read.leave(place)

    def _load(self, place: int) -> None:
        """Read the image in a place, if it is another one than before."""
        with self._loading:
            published = self._shared.published(place)
            if published is None or published.number == self._numbers[place]:
                return
            before = self._copies[place]
            data = self._shared.arena.read(published.start, published.size)
            state: EpochState
            state, self._constants[place] = self._images.read(data)
            self._images.forget(self._constants[0] | self._constants[1])
            if before is not None:
                state.items.features.continue_caches(before.items.features)
            self._copies[place], self._numbers[place] = state, published.number
