from __future__ import annotations

import os
import signal
from threading import Event, Thread

import pytest

from hsnn.serving.sharing.arena import Arena
from hsnn.serving.sharing.image import Image
from hsnn.serving.sharing.places import SharedPlaces
from tests.waiting import DEADLINE, wait_until


@pytest.fixture
def places(tmp_path):
    return SharedPlaces(2, Arena(1 << 20), tmp_path)


def reading_fork(places: SharedPlaces) -> int:
    """A process that reads the place in front as the worker 1, and never leaves it."""
    before, after = os.pipe()
    pid = os.fork()
    if not pid:
        places.open(1).enter()
        os.write(after, b"!")
        signal.pause()
        os._exit(0)
    assert os.read(before, 1) == b"!"
    os.close(before)
    os.close(after)
    return pid


def test_the_writer_waits_for_readers_of_the_place_that_it_changes_and_for_no_other(places):
    reader, left = places.open(1), Event()
    place = reader.enter()
    places.wait_until_left(1 - place, places.lock_files())
    places.flip(1 - place)
    waiting = Thread(target=lambda: (places.wait_until_left(place, places.lock_files()), left.set()))
    waiting.start()
    assert reader.enter() == 1 - place
    assert not left.wait(0.05)
    reader.leave(place)
    assert left.wait(DEADLINE)
    waiting.join()


def test_a_reader_that_is_killed_is_waited_for_until_that_is_known(places):
    pid = reading_fork(places)
    left = Event()
    place = places.front
    places.flip(1 - place)
    waiting = Thread(target=lambda: (places.wait_until_left(place, places.lock_files()), left.set()))
    waiting.start()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not left.wait(0.05)
    places.forget(1)
    assert left.wait(DEADLINE)
    waiting.join()


def test_the_writer_waits_for_one_that_was_stopped_while_it_comes(places):
    lock, left = places.open(1), Event()
    with lock._locked():
        waiting = Thread(target=lambda: (places.wait_until_left(1, places.lock_files()), left.set()))
        waiting.start()
        assert not left.wait(0.05)
    wait_until(left.is_set)
    waiting.join()


def test_another_writer_learns_which_spans_are_read(places):
    assert places.published(0) is None
    assert places.blocks(0) == frozenset()
    held = frozenset([places.arena.allocate(10), places.arena.allocate(1000)])
    taken = places.put(0, Image(b"data", held))
    published = places.published(0)
    assert published is not None
    assert bytes(places.arena.read(published.start, published.size)) == b"data"
    assert places.blocks(0) == taken
    places.put(1, Image(b"more", held))
    assert places.published(1).number > published.number
