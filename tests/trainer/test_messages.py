from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.messages import NEIGHBOURS, Feed, FeedItem, Snapshot, StateDelta
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner
from tests.trainer.encoded import encoded

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=5)
)
FEATURES = st.dictionaries(st.text(max_size=4), st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=3)
FEED_ITEMS = st.builds(
    FeedItem,
    st.text(max_size=5),
    st.integers(0, 2**31),
    st.lists(st.integers(0, 8191), max_size=8),
    FEATURES,
    st.integers(0, 2**45),
    st.integers(0, 2**45),
    st.none() | st.integers(1, 2**45),
    st.booleans(),
)


@pytest.mark.parametrize("cross", [True, False])
def test_co_visitation_travels_only_where_there_is_any(cross):
    n = 3 if cross else 0
    rng = np.random.default_rng(0)
    pairs = (
        rng.integers(-1, 9, (n, 2, NEIGHBOURS)).astype(np.int32),
        rng.random((n, 2, NEIGHBOURS)).astype(np.float32),
        rng.random((n, 2)).astype(np.float32),
        rng.integers(2**60, size=n),
    )
    rows, nothing = np.arange(3, dtype=np.int32), np.zeros((3, 2), np.int64)
    blob = StateDelta(1, 2, 3, 4, *[rows] * 5, nothing, nothing, nothing, 0, [], *pairs).encode()
    again = StateDelta.decode(blob)
    assert (b"item_neighbours" in blob) is cross
    for name, one in zip(StateDelta._PAIRS, pairs, strict=True):
        other = getattr(again, name)
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(st.integers(0, 2**40), st.lists(FEED_ITEMS, max_size=4))
def test_a_feed_comes_back(epoch, items):
    feed = Feed(epoch, items)
    assert Feed.decode(feed.encode()) == feed


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 4), st.lists(st.text(max_size=4), max_size=3), st.integers(0, 2**40))
def test_a_state_delta_comes_back(items, users, new_users, numbers):
    rng = np.random.default_rng(numbers)
    delta = StateDelta(
        numbers,
        numbers + 1,
        numbers + 2,
        3,
        rng.integers(2**31 - 1, size=items).astype(np.int32),
        rng.standard_normal((items, len(HALF_LIVES))).astype(np.float32),
        rng.integers(2**60, size=items),
        rng.integers(2**60, size=items),
        rng.integers(2**31 - 1, size=users).astype(np.int32),
        rng.integers(-1, 9, size=(users, 4)).astype(np.int32),
        rng.integers(2**60, size=(users, 4)),
        rng.integers(-1, 9, size=(users, 2)).astype(np.int32),
        rng.integers(9, size=len(new_users)).astype(np.int32),
        new_users,
    )
    again = StateDelta.decode(delta.encode())
    for field in dataclasses.fields(delta):
        one, other = getattr(delta, field.name), getattr(again, field.name)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), field.name
        else:
            assert one == other, field.name


@pytest.fixture
def snapshot(taught) -> Snapshot:
    return make_snapshot(taught[0], SnapshotOrigin(4, 2, "", "17-3", "18-0", "abc"))


def test_a_snapshot_comes_back(snapshot):
    again = Snapshot.decode(encoded(snapshot) | {b"version": b"ignored", b"vectors": b"ignored"})
    assert again.manifest == snapshot.manifest
    assert (again.item_ids, again.user_ids, again.features) == (snapshot.item_ids, snapshot.user_ids, snapshot.features)
    for group in ("model", "items", "users"):
        one, other = getattr(snapshot, group), getattr(again, group)
        assert one.keys() == other.keys()
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_snapshot_says_what_it_is_of(taught, snapshot):
    learner, _ = taught
    manifest = snapshot.manifest
    assert (manifest.snapshot, manifest.epoch, manifest.state_id, manifest.feed_id) == (4, 2, "17-3", "18-0")
    assert (manifest.events, manifest.watermark, manifest.half_life) == (
        learner.events,
        learner.watermark,
        learner.half_life,
    )
    assert manifest.model == learner.config.model.model_dump(mode="json")
    assert manifest.config_digest == "abc"
    assert len(snapshot.item_ids) == len(snapshot.features) == len(snapshot.items["embeddings"]) == len(learner.items)
    assert len(snapshot.user_ids) == len(snapshot.users["items"]) == len(learner.users)
    named = snapshot.with_checkpoint("checkpoint-7")
    assert named.manifest == msgspec.structs.replace(manifest, checkpoint="checkpoint-7")
    assert manifest.checkpoint == ""


@pytest.mark.slow
def test_a_snapshot_is_a_copy(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 10)
    snapshot = make_snapshot(learner, SnapshotOrigin(1, 1))
    before = encoded(snapshot)
    teach(learner, world, 5)
    assert encoded(snapshot) == before
