from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.assign.rolling_sweep import RollingSweep
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.verify.verify import verify


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def catalogue_and_index(popularity, preferred=None, sizes=(1, 1), cap=9, number=1):
    """Make a catalogue and an index of as many items as have a popularity."""
    count = len(popularity)
    popularity = np.array(popularity, np.float32)
    preferred = np.full(count, -1, np.int32) if preferred is None else np.array(preferred, np.int32)

    class Catalogue:
        def __len__(self):
            return count

        def alive_mask(self):
            return np.ones(count, bool)

        def popularity(self, rows):
            return popularity[rows]

    live = SimpleNamespace(
        number=number,
        preferred=preferred,
        capacity=SimpleNamespace(sizes=np.array(sizes), cap=cap),
        nodes_of_rows=lambda rows: np.zeros(rows, np.int32),
    )
    return Catalogue(), live


def test_no_more_items_than_the_rate_allows(clock):
    sweep, seen = RollingSweep(rate=10, every=0.5, clock=clock), []
    index = catalogue_and_index([1.0] * 100)
    for _ in range(40):
        clock.now += 0.25
        seen.append(len(sweep.select(*index)))
    assert sum(seen) <= 10 * 10 + 5
    assert sum(seen) >= 80
    clock.now += 1000
    assert len(sweep.select(*index)) == 10, "what was not used is not saved for later"
    assert len(sweep.select(*index)) == 0


def test_a_rate_below_one_item_per_call_adds_up(clock):
    sweep, seen = RollingSweep(rate=0.5, every=1.0, clock=clock), 0
    index = catalogue_and_index([1.0] * 10)
    for _ in range(20):
        clock.now += 1
        seen += len(sweep.select(*index))
    assert 9 <= seen <= 11


def test_popular_items_are_checked_more_often_and_every_item_at_some_time(clock):
    popularity = [100.0] * 5 + [1.0] * 45
    sweep, checks = RollingSweep(rate=5, every=1.0, clock=clock), Counter()
    index = catalogue_and_index(popularity)
    for _ in range(300):
        clock.now += 1
        checks.update(sweep.select(*index).tolist())
    assert set(checks) == set(range(50))
    assert min(checks[row] for row in range(5)) > 3 * max(checks[row] for row in range(5, 50))


def test_without_any_traffic_all_take_turns(clock):
    sweep, checks = RollingSweep(rate=5, every=1.0, clock=clock), Counter()
    for _ in range(40):
        clock.now += 1
        checks.update(sweep.select(*catalogue_and_index([0.0] * 20)).tolist())
    assert max(checks.values()) - min(checks.values()) <= 1
    assert len(checks) == 20


def test_those_who_wait_for_a_node_with_room_come_first_the_popular_before(clock):
    sweep = RollingSweep(rate=1, every=1.0, clock=clock)
    preferred, popularity = [-1] * 20, [5.0] * 20
    preferred[3], preferred[7], preferred[9] = 1, 0, 1
    popularity[0], popularity[1], popularity[9] = 100.0, 90.0, 8.0
    clock.now += 1
    assert sweep.select(*catalogue_and_index(popularity, preferred, sizes=(9, 9))).tolist() == [0, 1], (
        "nobody is waited for"
    )
    clock.now += 2
    assert sweep.select(*catalogue_and_index(popularity, preferred, sizes=(9, 2))).tolist() == [9, 3], (
        "node 1 has room, node 0 has none"
    )


def test_items_of_a_full_node_come_back_once_there_is_room(store, toy, follow):
    rules = PlacementRules(over_mean=1.0, floor=3)
    leader = Leader(store, Builder(store, rules=rules))
    leader.publish(toy.snapshot(), "test")
    for name in ("a", "b", "c"):
        toy.put(name, 1)
    follow(leader)
    nodes = store.item_nodes(1)
    assert [nodes[name] for name in ("i1", "i5", "a")] == [1, 1, 1]
    assert 1 not in (nodes["b"], nodes["c"]), "full: 3 in each of 4 nodes are 12 of 11"
    sweep = RollingSweep(rate=100, every=1.0)
    assert leader.sweep(sweep.select) == []
    toy.delete("i5")
    follow(leader)
    sweep._refilled_at -= 10
    (moved,) = leader.sweep(sweep.select)
    assert (moved.op, moved.reason, moved.node, moved.item) == ("move", "nearer", 1, "b")
    assert moved.vector is not None
    assert moved.vector.tolist() == [-4.0, 4.0, 0.0]
    sweep._refilled_at -= 10
    assert leader.sweep(sweep.select) == []
    assert verify(store, 1).clean


def test_a_successor_takes_displaced_items_back_too(store, toy, follow):
    rules = PlacementRules(over_mean=1.0, floor=2)
    leader = Leader(store, Builder(store, rules=rules))
    leader.publish(toy.snapshot(), "test")
    toy.put("a", 1)
    toy.put("b", 1)
    follow(leader)
    assert store.item_nodes(1)["b"] != 1
    toy.delete("i5")
    successor = Leader(store, Builder(store, rules=rules))
    successor.resume()
    sweep = RollingSweep(rate=100, every=1.0)
    sweep.select(successor.catalogue, successor.live)
    sweep._refilled_at -= 10
    sweep._checked_at -= 10
    assert [delta.item for delta in successor.sweep(sweep.select)] == ["b"]
    assert store.item_nodes(1)["b"] == 1


def test_without_a_version_there_is_nothing_to_sweep(leader, jobs, toy):
    assert jobs.sweep() == 0
    leader.publish(toy.snapshot(), "test")
    assert jobs.sweep() == 0
