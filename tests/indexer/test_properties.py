"""Whatever happens, base + deltas = the item map = the items that are alive, each in its planted node."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.builder import Builder
from indexer.leader import Leader
from indexer.verify import verify

NAMES = st.sampled_from([f"i{n}" for n in range(8)] + ["x", "y", "z"])
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.integers(0, 3), st.sampled_from([0, 300, 2000])),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("engage"), NAMES),
    st.tuples(st.just("pass"), st.integers(1, 900)),
    st.just(("follow",)),
    st.tuples(st.just("publish"), st.integers(0, 3)),
    st.just(("successor",)),
    st.just(("restart",)),
    st.just(("again",)),
)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_index_is_what_is_alive(redis_client, store, lease, follow, steps) -> None:
    from tests_indexer_toy import fresh

    toy = fresh(redis_client, lease)
    leader = Leader(store, Builder(store))
    leader.publish(toy.snapshot(), "first")
    for step in steps:
        leader = act(step, toy, leader, store, follow)
    if leader.catalogue.epoch != toy.epoch:
        leader.publish(toy.snapshot(), "epoch")
    follow(leader)
    assert store.item_nodes(store.current()) == toy.alive()
    for number in store.versions():
        assert verify(store, number).clean
