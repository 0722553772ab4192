"""Readers of a mirror with two copies never wait for updates; with one copy both exclude each other."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.retrieval import retrieve
from tests.waiting import DEADLINE


def items_of(mirror: Mirror, **asked) -> list[str]:
    return retrieve(mirror, [Request(user="nobody", k=100, mode="exhaustive", **asked)])[0].items


class Held:
    """An update that stops in the middle of its work until it is let go."""

    def __init__(self, monkeypatch, mirror: Mirror, update) -> None:
        self.began, self._go = Event(), Event()
        change = EpochState.apply_deltas

        def apply_and_stop(state, deltas, index):
            change(state, deltas, index)
            self.began.set()
            assert self._go.wait(DEADLINE)

        monkeypatch.setattr(EpochState, "apply_deltas", apply_and_stop)
        self._thread = Thread(target=update)
        self._thread.start()
        assert self.began.wait(DEADLINE)

    def finish(self) -> None:
        self._go.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def both(plant) -> Mirror:
    mirror = Mirror(double_buffered=True)
    plant.load(mirror)
    return mirror


def test_a_reader_ends_while_an_update_is_at_work(both, plant, monkeypatch):
    before, delta = items_of(both), plant.add("new", 0)
    update = Held(monkeypatch, both, lambda: both.apply_deltas([delta]))
    assert items_of(both) == before
    update.finish()
    assert "new" in items_of(both)


def test_an_update_waits_for_the_readers_of_the_copy_that_it_changes(both, plant):
    delta, done = plant.add("new", 0), Event()
    with both.reading():
        read = both.state
        update = Thread(target=lambda: (both.apply_deltas([delta]), done.set()))
        update.start()
        while both._newest is read:  # the other copy is read from now on
            pass
        assert both.state is read
        assert not read.index.is_indexed(delta.row)
        assert not done.is_set()
    update.join(DEADLINE)
    assert done.is_set()
    assert read.index.is_indexed(delta.row)


@pytest.mark.slow
def test_both_copies_stay_equal_to_one_that_is_updated_alone(both, plant):
    single = Mirror()
    plant.load(single)
    for turn in range(4):
        deltas = [plant.add(f"n{turn}", turn % 6), plant.delete(turn), plant.move(10 + turn, 1)]
        plant.engage("u1", f"c{turn}-7", after=1000)
        state = plant.state()
        for mirror in (both, single):
            mirror.apply_deltas(deltas)
            mirror.apply_state(state)
        for asked in ({}, {"filters": Filters(exclude=["c0-1"])}, {"history": ["c3-1"]}):
            assert items_of(both, **asked) == items_of(single, **asked)
    plant.load(both)
    plant.load(single)
    assert items_of(both) == items_of(single)


def test_with_one_copy_a_reader_waits(plant, monkeypatch):
    mirror, delta, answered = Mirror(), plant.add("new", 0), Event()
    plant.load(mirror)
    update = Held(monkeypatch, mirror, lambda: mirror.apply_deltas([delta]))
    reader = Thread(target=lambda: (items_of(mirror), answered.set()))
    reader.start()
    assert not answered.wait(0.05)
    update.finish()
    reader.join(DEADLINE)
    assert answered.is_set()
