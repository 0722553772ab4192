"""What attached mirrors answer, in this process and in others, while the one that is published changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import pytest

from hsnn.serving.errors import NotReadyError
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import MODES, Filters, Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.sharing.arena import Arena
from hsnn.serving.sharing.mirrors import AttachedMirror, PublishingMirror
from hsnn.serving.sharing.places import SharedPlaces

WORKERS = 3


@pytest.fixture
def places(tmp_path):
    return SharedPlaces(WORKERS, Arena(1 << 28), tmp_path)


def answers(mirror: Mirror) -> list[tuple]:
    """Answers in all modes, with and without filters."""
    filters = (Filters(), Filters(features={"topic": ["c0", "c1"]}), Filters(items=["c0-0", "c1-1", "late"]))
    requests = [
        Request(user=user, k=8, mode=mode, filters=one)
        for user in ("u0", "nobody")
        for mode in MODES
        for one in filters
    ]
    found = retrieve(mirror, requests) + [retrieve(mirror, [request])[0] for request in requests]
    return [(answer.items, answer.scores, answer.as_of, answer.version, answer.stats.corpus) for answer in found]


@pytest.mark.slow
@pytest.mark.parametrize("engine", [False, True])
def test_attached_mirrors_answer_as_one_of_their_own_would(plant, places, engine):
    own, written = Mirror(engine=engine), PublishingMirror(places, engine)
    readers = [AttachedMirror(places, worker) for worker in (1, 2)]
    with pytest.raises(NotReadyError):
        _ = readers[0].state
    changes: list[Callable[[Mirror], object]] = []
    version = plant.version()
    changes.append(lambda mirror: mirror.load_version(version))
    delta = plant.add("late", 1, topic="c1")
    changes.append(lambda mirror: mirror.apply_deltas([delta]))
    for number in range(40):
        plant.engage(f"u{number % 7}", plant.ids[number % 9], after=60_000)
    state = plant.state()
    changes.append(lambda mirror: mirror.apply_state(state))
    gone = plant.delete(0)
    changes.append(lambda mirror: mirror.apply_deltas([gone]))
    second = plant.version()
    changes.append(lambda mirror: mirror.load_version(second))
    plant.epoch += 1
    third = plant.version()
    changes.append(lambda mirror: mirror.load_version(third))
    for change in changes:
        change(own)
        change(written)
        wanted = answers(own)
        assert answers(written) == wanted
        assert [answers(reader) for reader in readers] == [wanted, wanted]
        assert [(reader.version, reader.epoch) for reader in readers] == 2 * [(own.version, own.epoch)]


def test_memory_is_given_back(plant, places):
    written, used = PublishingMirror(places), []
    for _ in range(6):
        written.load_version(plant.version())
        plant.epoch += 1
        used.append(places.arena.used)
    assert max(used[1:]) < 1.1 * used[0]


def test_a_writer_in_place_of_another_leaves_what_is_read_until_it_has_loaded(plant, places):
    first, reader = PublishingMirror(places), AttachedMirror(places, 1)
    plant.load(first)
    before = answers(reader)
    with reader.pinned():
        other = PublishingMirror(places)  # what the first one had begun is lost, as when it is killed
        assert not other.loaded
        assert answers(reader) == before
    assert answers(reader) == before
    plant.delete(1)
    second = plant.version()
    other.load_version(second)
    own = Mirror()
    own.load_version(second)
    assert answers(reader) == answers(own)


def see_whole_updates(places: SharedPlaces, worker: int, until: int) -> None:
    """Read until the watermark is there; every state of an item in one look is that of one update."""
    mirror, looks = AttachedMirror(places, worker), 0
    while True:
        with mirror.pinned() as state:
            if state is None:
                continue
            rows = np.arange(len(state.items.ids))
            for _ in range(3):  # it does not change while it is read
                last, counts = state.states.last[rows], state.states.values[rows, 0]
                histories = state.users.histories.times[0]
                assert (last == state.watermark).all(), (last, state.watermark)
                assert (counts == counts[0]).all()
                assert counts[0] == state.events
                assert histories.max() in (state.watermark, 0)
                assert [state.items.ids.row(name) for name in state.items.ids.ids] == rows.tolist()
            looks += 1
            if state.watermark >= until:
                os._exit(0 if looks > 10 else 3)


@pytest.mark.slow
def test_readers_in_other_processes_never_see_half_an_update(plant, places):
    updates, pids = 400, []
    start = plant.now
    for worker in (1, 2):
        pid = os.fork()
        if not pid:
            try:
                see_whole_updates(places, worker, start + updates)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(1)
        pids.append(pid)
    written, rows = PublishingMirror(places), np.arange(len(plant.ids))

    def touch_all(event: int) -> None:
        """Every item and the first user are as of one event."""
        plant.now, plant.events = start + event, event
        plant.states.last[rows] = plant.now
        plant.states.values[rows] = event
        plant.histories.times[0] = plant.now
        plant.touched_items, plant.touched_users = set(rows.tolist()), {0}

    plant.engage("u0", plant.ids[0])
    plant.sent_users = len(plant.users)
    touch_all(0)
    written.load_version(plant.version())
    for event in range(1, updates + 1):
        touch_all(event)
        if event % 50 == 0:
            plant.touched_items = set()
            written.load_version(plant.version())  # its model and nodes; states come with the deltas
            plant.touched_items = set(rows.tolist())
        written.apply_state(plant.state())
        time.sleep(0.0002)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert statuses == [0, 0]
