"""Mirror: everything that a request needs, in memory, updated by versions, item deltas and state deltas. No I/O.

One thread writes (`load_version`, `apply_deltas`, `apply_state`), any number of threads read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.version import Version
from hsnn.serving.errors import NotReadyError
from hsnn.serving.mirror.epoch_state import EpochState, scorer_of
from hsnn.trainer.features.mass_expiry import Held, QuietClock
from hsnn.trainer.messages import StateDelta

# Deltas applied in one update, about a millisecond: so long readers wait where there is one copy.
DELTAS_PER_UPDATE = 128


class Mirror:
    """The newest state, safe to read while it is updated.

    A mirror that was updated by versions and deltas equals one loaded from the last version, its deltas and the states
    since: states are a function of log positions, and every update overwrites with absolute values.

    Parameters
    ----------
    engine
        Whether the compiled engine's arrays are kept as well.
    double_buffered
        Whether two copies are kept, at twice the memory: an update changes the one that nobody reads, which is read
        from then on, and then the other one, once its last reader has left it. So no reader waits for an update. With
        one copy, updates and readers exclude each other.
    """

    def __init__(self, engine: bool = False, double_buffered: bool = False) -> None:
        self._engine, self.warm = engine, False
        self._copies: list[EpochState | None] = [None, None] if double_buffered else [None]
        self._front = 0
        self._readers = [0, 0]
        # Held for a moment only: while a reader comes or goes, or copies change places.
        self._places = threading.Condition()
        # Readers that fill caches of a state exclude each other.
        self._caches = threading.RLock()
        self._pinned = threading.local()

    @classmethod
    def holding(cls, state: EpochState) -> Mirror:
        """Make a mirror of one copy that holds a state."""
        mirror = cls()
        mirror._copies[0] = state
        return mirror

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read `state`, which does not change inside; other readers wait, updates do not unless there is one copy."""
        with self._caches, self.pinned():
            yield

    @contextmanager
    def pinned(self) -> Iterator[EpochState | None]:
        """Read the newest state beside all other readers; what fills caches of the state takes `reading`.

        Where there is one copy, nothing may update it meanwhile.
        """
        before = getattr(self._pinned, "state", None)
        if before is not None:  # this thread reads already
            yield before
            return
        place = self._enter()
        try:
            state = self._pinned.state = self._copies[place]
            yield state
        finally:
            self._pinned.state = None
            self._leave(place)

    def _enter(self) -> int:
        """Begin to read the copy in front, which does not change until `_leave`; return its place."""
        with self._places:
            self._readers[self._front] += 1
            return self._front

    def _leave(self, place: int) -> None:
        with self._places:
            self._readers[place] -= 1
            self._places.notify_all()

    @property
    def never_waits(self) -> bool:
        """Whether readers never wait for updates."""
        return len(self._copies) > 1

    @property
    def loaded(self) -> bool:
        """Whether a version has been loaded."""
        return self._newest is not None

    @property
    def state(self) -> EpochState:
        """Current state, to be read inside `reading`, which holds it.

        Raises
        ------
        NotReadyError
            No version has been loaded yet.
        """
        state = getattr(self._pinned, "state", None) or self._newest
        if state is None:
            raise NotReadyError("no version of the index has been published yet; try again when the scheduler has")
        return state

    @property
    def version(self) -> int:
        """Number of the version in use, 0 before the first."""
        return self._newest.index.version if self._newest else 0

    @property
    def epoch(self) -> int:
        """Epoch of the trainer whose rows are mirrored, 0 before the first version."""
        return self._newest.epoch if self._newest else 0

    @property
    def watermark(self) -> int:
        """Event time up to which states are known, epoch ms; 0 before the first version."""
        return self._newest.watermark if self._newest else 0

    @property
    def _newest(self) -> EpochState | None:
        return self._copies[self._front]

    def is_indexed(self, item: str) -> bool:
        """Whether an item is in the index."""
        state = self._newest
        return state is not None and state.index.is_indexed(state.items.ids.row(item))

    def load_version(self, version: Version, deltas: Sequence[Delta] = ()) -> bool:
        """Switch to a version and the `deltas` that its stream already holds; True if everything was reloaded.

        A version of the same epoch changes model, vectors and nodes, and keeps the states; one of another epoch
        replaces everything.
        """
        relevant, scorer = _of_epoch(deltas, version.manifest.epoch), scorer_of(version)
        if self._newest is None or self._newest.epoch != version.manifest.epoch:

            def load(before: EpochState | None) -> EpochState:
                state = EpochState(version, self._engine, scorer)
                if before is not None:
                    state.continue_quiet_ends(before)
                if relevant:
                    state.apply_deltas(relevant, state.index)
                return state

            self._update(load)
            return True

        def swap(state: EpochState | None) -> EpochState:
            assert state is not None
            state.swap_index(version, relevant, scorer)
            return state

        self._update(swap)
        return False

    def reset(self) -> None:
        """Make the next `load_version` reload everything; until then requests are answered from the current state."""
        for state in self._copies:
            if state is not None:
                state.epoch = -1  # no version has this epoch

    def apply_delta(self, delta: Delta) -> bool:
        """Insert, move or delete one item; see `apply_deltas`."""
        return bool(self.apply_deltas([delta]))

    def apply_deltas(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Insert, move or delete items, in order; return the deltas that were applied: others are of another epoch."""
        relevant = _of_epoch(deltas, self.epoch) if self.loaded else []
        for start in range(0, len(relevant), DELTAS_PER_UPDATE):
            part = relevant[start : start + DELTAS_PER_UPDATE]
            self._change(lambda state, part=part: state.apply_deltas(part, state.index))  # type: ignore[misc]
        return relevant

    def apply_state(self, delta: StateDelta) -> bool:
        """Apply changed states; False if they are of another epoch than the version in use."""
        if self._newest is None or self._newest.epoch != delta.epoch:
            return False
        self._change(lambda state: state.apply_state(delta))
        return True

    def obey_ends(self, quiet: QuietClock) -> Held | None:
        """Obey announced ends where the stream is quiet; return what is held instead, because it is too much."""
        if self._newest is None:
            return None
        elapsed = quiet.elapsed_ms(self._newest.watermark)
        if self._newest.ends_are_due(elapsed):
            self._change(lambda state: state.obey_ends(elapsed))
        for state in self._copies:  # what is read stays as it is
            if state is not None:
                state.obey_ends(elapsed)
        return self._newest.quiet_ends.held

    def _change(self, change: Callable[[EpochState], None]) -> None:
        def changed(state: EpochState | None) -> EpochState:
            assert state is not None
            change(state)
            return state

        self._update(changed)

    def _update(self, make: Callable[[EpochState | None], EpochState]) -> None:
        """Replace every copy by what `make` returns for it, the same one or another; one thread alone may call this."""
        if not self.never_waits:
            with self._caches:
                self._copies[0] = make(self._copies[0])
            return
        back = 1 - self._front
        self._copies[back] = self._ready(back, make(self._copies[back]))
        self._change_over(back)
        self._copies[1 - back] = self._ready(1 - back, make(self._copies[1 - back]))

    def _ready(self, place: int, state: EpochState) -> EpochState:  # noqa: ARG002 - for those who share copies
        """Prepare a changed copy for its readers; return what is to be read and changed from now on."""
        return state

    def _change_over(self, place: int) -> None:
        """Let readers that come from now on read the copy in a place, and wait for those of the other one."""
        with self._places:
            self._front = place
            self._places.wait_for(lambda: not self._readers[1 - place])


def _of_epoch(deltas: Sequence[Delta], epoch: int) -> list[Delta]:
    return [delta for delta in deltas if delta.epoch == epoch and delta.op != "superseded"]
