"""At no moment of any version does a node hold more than it may, whatever comes, moves and goes."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.builder import Builder
from indexer.leader import Leader
from indexer.placing import Placing
from indexer.sweep import Sweep
from indexer.verify import verify
from tests.indexer.happenings import Happenings

NAMES = st.sampled_from([f"i{n}" for n in range(8)] + [f"x{n}" for n in range(12)])
CLUSTERS = st.sampled_from([1, 1, 1, 1, 2, 3])  # most want into one node
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, CLUSTERS, st.sampled_from([0, 300, 2000])),
    st.tuples(st.just("put"), NAMES, CLUSTERS, st.just(0)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("engage"), NAMES),
    st.tuples(st.just("pass_time"), st.integers(1, 900)),
    st.tuples(st.just("publish"), st.integers(0, 3)),
    st.sampled_from([("follow",), ("sweep",), ("succeed",), ("roll_back",)]),
)


def watched(store, number) -> int:
    """Replay a version as its readers see it, one delta after the other; return the deltas there were."""
    version = store.load_version(number)
    rules = Placing().of_version(version.manifest)
    nodes = {row: node for row, node in enumerate(version.index.nodes.tolist()) if node >= 0}
    peak = len(nodes)

    def check() -> None:
        sizes = np.bincount(list(nodes.values()), minlength=4)
        assert sizes.max() <= rules.cap(peak, 4), (number, sizes, peak)

    check()
    deltas = store.read_deltas(number, count=10_000)
    for _, delta in deltas:
        if delta.op == "delete":
            nodes.pop(delta.row, None)
        elif delta.op != "superseded":
            nodes[delta.row] = delta.node
        peak = max(peak, len(nodes))
        check()
    return len(deltas)


class World(Happenings):
    def __init__(self, toy, store, follow, rules) -> None:
        super().__init__(toy, store, follow)
        self.rules = rules
        self.leader = self._leader()
        for number in range(8):
            toy.put(f"i{number}", 1)
        self.publish(0)

    def _leader(self) -> Leader:
        return Leader(self.store, Builder(self.store, rules=self.rules))

    def publish(self, turn) -> None:
        number = self.toy.snapshot()
        self.toy.put("while it is built", 1)
        self.toy.turn = turn
        self.leader.publish(number, "test")

    def sweep(self) -> None:
        sweep = Sweep(rate=100, every=1.0)
        sweep.choose(self.leader.catalogue, self.leader.live)
        sweep._filled -= 10
        self.leader.sweep(sweep.choose)

    def succeed(self) -> None:
        self.leader = self._leader()
        self.leader.resume()

    def roll_back(self) -> None:
        older = [number for number in self.store.versions() if number != self.store.current()]
        if older:
            self.store.rollback(older[-1])
            self.succeed()


@pytest.mark.slow
@given(st.lists(STEPS, max_size=30), st.sampled_from([1.0, 1.3, 2.0]), st.integers(1, 3), st.sampled_from([0.0, 0.5]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_node_is_ever_above_its_cap(redis_client, store, lease, toy, follow, steps, over, floor, margin) -> None:
    redis_client.flushall()
    assert lease.take()
    world = World(type(toy)(redis_client), store, follow, Placing(margin, over, floor))
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.follow()
    assert store.item_nodes(store.current()).keys() == world.toy.alive().keys(), "and all find a place"
    for number in store.versions():
        watched(store, number)
        assert verify(store, number).clean
    sizes = np.bincount(list(store.item_nodes(store.current()).values()), minlength=4)
    assert world.leader.sizes()[1].tolist() == sizes.tolist()


def test_a_version_keeps_the_bound_it_was_made_with(store, toy, follow) -> None:
    Leader(store, Builder(store, rules=Placing(over_mean=1.0, floor=2))).publish(toy.snapshot(), "test")
    manifest = store.manifest(1)
    assert (manifest.over_mean, manifest.floor) == (1.0, 2)
    successor = Leader(store, Builder(store, rules=Placing(over_mean=4.0, floor=100)))
    successor.resume()
    for number in range(6):
        toy.put(f"x{number}", 1)
    follow(successor)
    assert watched(store, 1) == 6
    assert max(np.bincount(list(store.item_nodes(1).values()))) == math.ceil(14 / 4)


def test_churn_stands_in_the_manifest(store, toy, leader) -> None:
    leader.publish(toy.snapshot(), "test")
    first = store.manifest(1)
    assert (first.moved, first.common, first.spilled, first.over_mean) == (0, 0, 0, 0.0)
    toy.items[0].cluster = 2
    toy.put("new", 1)
    leader.publish(toy.snapshot(), "test")
    second = store.manifest(2)
    assert (second.moved, second.common) == (1, 8), "the new one was in no node before"
    toy.restart()
    leader.publish(toy.snapshot(), "test")
    assert store.manifest(3).common == 0, "rows of another epoch are other items"
