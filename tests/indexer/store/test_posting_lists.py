"""Leaves as they lie in Redis: whatever is put in, moved and taken out, they say where each item is, and its vector."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.indexer.store.bulk_load import ItemColumns, send_commands, version_commands
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.posting_lists import EMPTY_ROW, LeafSlot, PostingList, pack, unpack, vectors_by_row
from hsnn.indexer.store.shards import UNINDEXED_LEAF, VersionShard
from hsnn.indexer.store.version import IndexBase
from tests import servers

pytestmark = pytest.mark.every_server


def test_the_record_in_a_leaf_wins_and_empty_ones_say_nothing() -> None:
    before = PostingList(np.array([~1, ~2, EMPTY_ROW], np.int32), np.full((3, 2), 9, np.float32))
    leaf = PostingList(np.array([1, 0, 7], np.int32), np.ones((3, 2), np.float32))
    for order in ([before, leaf], [leaf, before]):
        assert vectors_by_row(order, 4, 2).tolist() == [[1, 1], [1, 1], [9, 9], [0, 0]]


def test_a_record_that_was_cut_short_is_left_out() -> None:
    blob = pack(np.array([3, 4]), np.eye(2))
    assert unpack(blob[:-1], 2).rows.tolist() == [3]


@pytest.mark.parametrize("shards", [1, 3])
def test_bulk_writes_every_item_where_the_map_says(redis_client, shards) -> None:
    rng = np.random.default_rng(0)
    n, width, nodes = 200, 3, 5
    base = IndexBase(
        rng.normal(size=(n, width)).astype(np.float32),
        rng.integers(-1, nodes - 1, n).astype(np.int32),
        np.zeros(nodes, np.int32),
    )
    items = ItemColumns([f"i{row}" for row in range(n)], rng.integers(0, 3, n))
    send_commands(redis_client, version_commands(4, base, items, shards, 7))
    found: list[PostingList] = []
    for shard in range(shards):
        shard_keys = VersionShard(4, shard)
        for item, text in redis_client.hscan_iter(shard_keys.item_map):
            row, location = int(item[1:]), LeafSlot.parse(text)
            records = unpack(redis_client.get(shard_keys.leaf_key(location.leaf)), width)
            assert (location.leaf, records.rows[location.slot]) == (base.nodes[row], row)
            assert redis_client.zscore(shard_keys.expiry_set, item) == (items.expires_at[row] or None)
        assert not redis_client.exists(shard_keys.leaf_key(nodes - 1)), "a leaf without items has no key"
        found += [unpack(redis_client.get(name) or b"", width) for name in shard_keys.leaf_keys(nodes)]
        left = unpack(redis_client.get(shard_keys.leaf_key(UNINDEXED_LEAF)), width).rows
        assert (base.nodes[~left] == -1).all()
    assert sum(redis_client.hlen(VersionShard(4, shard).item_map) for shard in range(shards)) == (base.nodes >= 0).sum()
    assert np.array_equal(vectors_by_row(found, n, width), base.vectors)


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 2), st.integers(0, 2)), max_size=30)


@pytest.mark.slow
def test_leaf_map_and_expiry_set_follow_the_deltas(redis_client, lease, store, toy, server_kind) -> None:
    @given(STEPS)
    @servers.examples(server_kind, 30)
    def holds(steps) -> None:
        redis_client.flushall()
        assert lease.acquire()
        base = IndexBase(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), np.zeros(3, np.int32))
        items = ItemColumns([], np.zeros(0, np.int64))
        send_commands(redis_client, version_commands(1, base, items, 1, 5))
        store._sequence.clear(), store._widths.clear()
        expected: dict[int, tuple[int, int, float]] = {}
        vectors: dict[int, float] = {}
        for number, (row, leaf, end) in enumerate(steps):
            if leaf < 0:
                store.apply(1, [Delta("delete", 1, row, f"i{row}")])
                expected.pop(row, None)
            else:
                store.apply(
                    1, [Delta("move", 1, row, f"i{row}", leaf, pack_vector(np.full(3, number)), expires_at=end)]
                )
                expected[row], vectors[row] = (leaf, end, float(number)), float(number)
        shard_keys = VersionShard(1, 0)
        locations = {
            int(item[1:]): LeafSlot.parse(text) for item, text in redis_client.hgetall(shard_keys.item_map).items()
        }
        assert {row: location.leaf for row, location in locations.items()} == {
            row: at[0] for row, at in expected.items()
        }
        found = {leaf: unpack(redis_client.get(shard_keys.leaf_key(leaf)) or b"", 3) for leaf in range(3)}
        live = sorted(row for records in found.values() for row in records.rows.tolist() if row >= 0)
        assert live == sorted(expected)
        assert all(found[location.leaf].rows[location.slot] == row for row, location in locations.items())
        ends = {
            int(item[1:]): int(end) for item, end in redis_client.zrange(shard_keys.expiry_set, 0, -1, withscores=True)
        }
        assert ends == {row: at[1] for row, at in expected.items() if at[1]}
        kept = vectors_by_row(found.values(), 5, 3)[:, 0]
        assert {row: kept[row] for row in expected} == {row: vectors[row] for row in expected}

    holds()
