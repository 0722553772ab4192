"""At no moment of any version does a node hold more than it may, whatever comes, moves and goes."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.assign.rolling_sweep import RollingSweep
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.shards import UNINDEXED_LEAF
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from tests.indexer.item_changes import ItemChanges

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
    rules = PlacementRules().for_version(version.manifest)
    nodes = {row: node for row, node in enumerate(version.index.nodes.tolist()) if node >= 0}
    peak = len(nodes)

    def check() -> None:
        sizes = np.bincount(list(nodes.values()), minlength=4)
        assert sizes.max() <= rules.node_cap(peak, 4), (number, sizes, peak)

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


class Moments:
    """Looks at the leaves in Redis after every single call that writes deltas."""

    def __init__(self, store) -> None:
        self.store, self._run_script, self.peaks = store, store.run_script, {}
        self.looks, self.least_room = 0, math.inf
        store.run_script = self

    def __call__(self, script, *, keys, **options) -> None:
        self._run_script(script, keys=keys, **options)
        if script == lua_scripts.APPLY_DELTAS:
            self.look(int(keys[0].rpartition(":")[2]))

    def look(self, number) -> None:
        manifest, sizes = self.store.manifest(number), np.zeros(4, np.int64)
        for shard_keys in self.store.shards(number):
            for name, records in self.store.leaves(shard_keys, manifest):
                leaf = name.rpartition(":")[2]
                if leaf != UNINDEXED_LEAF:
                    sizes[int(leaf)] += np.count_nonzero(records.rows >= 0)
        self.peaks[number] = max(self.peaks.get(number, manifest.items), int(sizes.sum()))
        room = PlacementRules().for_version(manifest).node_cap(self.peaks[number], 4) - int(sizes.max())
        self.looks, self.least_room = self.looks + 1, min(self.least_room, room)
        assert room >= 0, (number, sizes, self.peaks)


class World(ItemChanges):
    def __init__(self, toy, store, follow, rules) -> None:
        super().__init__(toy, store, follow)
        self.rules = rules
        self.leader = self._leader()
        for number in range(8):
            toy.put(f"i{number}", 1)
        self.publish(0)

    def _leader(self) -> Leader:
        return Leader(self.store, Builder(self.store, rules=self.rules))

    def publish(self, shift) -> None:
        number = self.toy.snapshot()
        self.toy.put("while it is built", 1)
        self.toy.shift = shift
        self.leader.publish(number, "test")

    def sweep(self) -> None:
        sweep = RollingSweep(rate=100, every=1.0)
        sweep.select(self.leader.catalogue, self.leader.live)
        sweep._refilled_at -= 10
        self.leader.sweep(sweep.select)

    def succeed(self) -> None:
        self.leader = self._leader()
        self.leader.resume()

    def roll_back(self) -> None:
        older = [number for number in self.store.versions() if number != self.store.current()]
        if older:
            self.store.rollback(older[-1])
            self.succeed()


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 4])
@given(st.lists(STEPS, max_size=30), st.sampled_from([1.0, 1.3, 2.0]), st.integers(1, 3), st.sampled_from([0.0, 0.5]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_node_is_ever_above_its_cap(redis_client, toy, follow, shards, steps, over, floor, margin) -> None:
    redis_client.flushall()
    lease = Lease(redis_client, 3600, shard_count=shards)
    assert lease.acquire()
    store = IndexStore(redis_client, lease, chunk=3)
    Moments(store)
    world = World(type(toy)(redis_client), store, follow, PlacementRules(margin, over, floor))
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    world.follow()
    assert store.item_nodes(store.current()).keys() == world.toy.alive().keys(), "and all find a place"
    for number in store.versions():
        watched(store, number)
        assert verify(store, number).clean
    sizes = np.bincount(list(store.item_nodes(store.current()).values()), minlength=4)
    assert world.leader.node_sizes()[1].tolist() == sizes.tolist()


class Crowd:
    """A leader with five shards, and items that come, change and go, most of them in two nodes."""

    rules = PlacementRules(over_mean=1.3, floor=2)

    def __init__(self, toy, follow, seed, chunk=3) -> None:
        lease, self._rng = Lease(toy.redis, 3600, shard_count=5), np.random.default_rng(seed)
        assert lease.acquire()
        self._toy, self._follow = toy, follow
        self.store = IndexStore(toy.redis, lease, chunk)
        self.leader = Leader(self.store, Builder(self.store, rules=self.rules))
        self.leader.publish(toy.snapshot(), "test")

    def stir(self, items=8) -> None:
        for name in self._rng.choice(5 * items, items, replace=False).tolist():
            self._toy.put(f"i{name}", int(self._rng.integers(4)) // 2)
            if self._rng.random() < 0.4:
                self._toy.delete(f"i{name}")
        self._follow(self.leader)


@pytest.mark.slow
@pytest.mark.every_server
@pytest.mark.parametrize("seed", range(2))
def test_after_no_call_a_node_is_above_its_cap_in_redis(toy, follow, seed) -> None:
    crowd = Crowd(toy, follow, seed)
    moments = Moments(crowd.store)
    for _ in range(25):
        crowd.stir()
    assert moments.looks > 100
    assert moments.least_room == 0, "the bound is reached"
    assert verify(crowd.store, 1).clean


@pytest.mark.slow
def test_what_is_written_at_once_takes_two_calls_per_shard(toy, follow) -> None:
    crowd = Crowd(toy, follow, 0, chunk=500)
    moments = Moments(crowd.store)
    crowd.stir(200)
    looks, at = moments.looks, crowd.store.last_delta_id(1)
    crowd.stir(200)
    assert {delta.op for _, delta in crowd.store.read_deltas(1, at)} == {"delete", "insert", "move"}
    assert moments.looks - looks == 2 * 5


class Held:
    """Calls of a leader that are not made before a reader asks Redis for something: one with each question."""

    def __init__(self, store, redis) -> None:
        self._run_script, self._redis, self.calls = store.run_script, redis, []
        store.run_script = lambda script, **options: self.calls.append((script, options))

    def __getattr__(self, name):
        found = getattr(self._redis, name)
        return partial(self._asked, found) if name in ("xread", "xrange") else found

    def _asked(self, question, *arguments, **options):
        if self.calls:
            script, call = self.calls.pop(0)
            self._run_script(script, **call)
        return question(*arguments, **options)


@pytest.mark.slow
@pytest.mark.every_server
@pytest.mark.parametrize("seed", range(2))
def test_a_reader_of_many_shards_never_sees_a_node_above_its_cap(redis_client, toy, follow, seed) -> None:
    """It asks shard after shard, and between two questions the leader goes on."""
    crowd = Crowd(toy, follow, seed)
    store, held = crowd.store, Held(crowd.store, redis_client)
    reader, at = IndexReader(held), store.last_delta_id(1)
    nodes = dict(enumerate(store.load_version(1).index.nodes.tolist()))
    peak, read = len(nodes), 0
    for _ in range(25):
        crowd.stir()
        while (page := reader.read_deltas(1, at)) or held.calls:
            at = page[-1][0] if page else at
            for _, delta in page:
                nodes.pop(delta.row, None)
                if delta.op != "delete":
                    nodes[delta.row] = delta.node
                read, peak = read + 1, max(peak, len(nodes))
                sizes = np.bincount(list(nodes.values()), minlength=4)
                assert sizes.max() <= crowd.rules.node_cap(peak, 4), (sizes, peak)
    assert store.item_nodes(1) == {crowd.leader.catalogue.ids[row]: node for row, node in nodes.items()}
    assert read > 100


def test_a_version_keeps_the_bound_it_was_made_with(store, toy, follow) -> None:
    Leader(store, Builder(store, rules=PlacementRules(over_mean=1.0, floor=2))).publish(toy.snapshot(), "test")
    manifest = store.manifest(1)
    assert (manifest.over_mean, manifest.floor) == (1.0, 2)
    successor = Leader(store, Builder(store, rules=PlacementRules(over_mean=4.0, floor=100)))
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
