"""Whatever happens, base + deltas = the item map = the items that are alive, each in its planted node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.verify.verify import verify
from tests import servers
from tests.indexer.item_changes import ItemChanges

pytestmark = pytest.mark.every_server

NAMES = st.sampled_from([f"i{n}" for n in range(8)] + ["x", "y", "z"])
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 3), st.sampled_from([0, 300, 2000])),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("engage"), NAMES),
    st.tuples(st.just("pass_time"), st.integers(1, 900)),
    st.tuples(st.just("take_snapshot"), st.integers(0, 3)),
    st.sampled_from([("follow",), ("publish",), ("succeed",), ("restart",), ("repeat",)]),
)


class World(ItemChanges):
    """A toy trainer, and a scheduler that does what each step says."""

    def __init__(self, toy, store, follow) -> None:
        super().__init__(toy, store, follow)
        self.leader = Leader(store, Builder(store))
        self.waiting: tuple[int, int] | None = None  # a snapshot not yet published, and its model
        for number in range(8):
            toy.put(f"i{number}", number % 4)
        self.publish()

    def take_snapshot(self, shift) -> None:
        before, self.toy.shift = self.toy.shift, shift
        self.waiting = (self.toy.snapshot(), shift)
        self.toy.shift = before

    def publish(self) -> None:
        if self.waiting is None:
            self.take_snapshot(self.toy.shift)
        number, self.toy.shift = self.waiting
        self.leader.publish(number, "test")
        self.waiting = None

    def succeed(self) -> None:
        self.leader = Leader(self.store, Builder(self.store))
        self.leader.resume()

    def restart(self) -> None:
        self.toy.restart()
        self.waiting = None

    def repeat(self) -> None:
        rows = range(len(self.toy.items))
        self.toy.feed(*rows)
        self.toy.flush(*rows)

    def come_to_rest(self) -> None:
        if self.leader.catalogue.epoch != self.toy.epoch:
            self.publish()
        self.follow()


@pytest.mark.slow
def test_the_index_is_what_is_alive(redis_client, store, lease, toy, follow, server_kind) -> None:
    @given(st.lists(STEPS, max_size=25))
    @servers.examples(server_kind, 80)
    def holds(steps) -> None:
        redis_client.flushall()
        assert lease.acquire()
        world = World(type(toy)(redis_client), store, follow)
        for name, *arguments in steps:
            getattr(world, name)(*arguments)
        world.come_to_rest()
        assert store.item_nodes(store.current()) == world.toy.alive()
        for number in store.versions():
            assert verify(store, number).clean

    holds()
