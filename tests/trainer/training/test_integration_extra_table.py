"""A table that registers itself once is grown, reset, saved, digested, served and mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.checkpoint.digest import parts
from hsnn.trainer.checkpoint.learner_copy import LearnerCopy
from hsnn.trainer.checkpoint.row_delta import TableRows
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.features import extra_tables
from hsnn.trainer.messages import Snapshot, StateDelta
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot, make_snapshot_manifest
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.table import TableKind
from hsnn.trainer.rowstore.write_barrier import WriteBarrier
from hsnn.trainer.training.learner import Learner
from tests.trainer.encoded import encoded

ABOUT: dict[str, Any] = {"events": 1, "watermark": 2, "model": {}, "config_digest": "", "threads": 1}
COLUMN = "clicks.count"


class ClickCounter:
    """Counts engagements by row: all that a new table consists of."""

    def __init__(self) -> None:
        self.count: np.ndarray = np.zeros(4, np.int64)
        self.barrier = WriteBarrier()

    def columns(self) -> dict[str, Array]:
        return {"count": self.count}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        self.count = columns["count"].copy()

    def reserve(self, rows: int) -> None:
        self.count = grown(self.count, rows)

    def clear(self, rows: np.ndarray) -> None:
        self.barrier.before_write(rows)
        self.count[rows] = 0

    def update(self, rows: np.ndarray, ts: np.ndarray, weights: np.ndarray) -> None:
        self.barrier.before_write(rows)
        np.add.at(self.count, rows, 1)


@pytest.fixture
def clicks() -> Iterator[str]:
    """Learners made meanwhile have a served table of items, and one of users."""
    extra_tables.register("clicks", ClickCounter, TableKind.ITEM, served=True)
    extra_tables.register("visits", ClickCounter, TableKind.USER, served=True)
    yield "clicks"
    extra_tables.unregister("clicks")
    extra_tables.unregister("visits")


def counter(learner: Learner, name: str = "clicks") -> np.ndarray:
    return learner.extra[name][0].count


def version_of(learner: Learner, snapshot: Snapshot) -> Version:
    rows, model = len(snapshot.item_ids), learner.config.model
    base = IndexBase(
        np.zeros((rows, model.vector_width), np.float32),
        learner.leaves.node_of[:rows].astype(np.int32),
        np.full(model.leaves, -1, np.int32),
    )
    about = {"version": 1, "epoch": 1, "snapshot": 1, "checkpoint": "", "events": 0, "watermark": 0, "created_at": 0}
    sizes = {"items": rows, "rows": rows, "nodes": model.leaves}
    return Version(VersionManifest(**about, **sizes, config_digest="", state_id="0-0", reason=""), snapshot, base)


def test_it_grows_with_the_items_and_users_and_counts(clicks, config, world, teach):
    learner = Learner(config)
    teach(learner, world, 6)
    assert len(counter(learner)) >= len(learner.items) > 4
    assert counter(learner).sum() == counter(learner, "visits").sum() == learner.positives


def test_checkpoint_and_digest_have_it_and_a_restored_learner_goes_on(clicks, config, world, teach):
    learner = Learner(config)
    teach(learner, world, 6)
    arrays, values = learner.state_dict()
    assert np.array_equal(arrays[COLUMN], counter(learner)[: len(learner.items)])
    assert any(line.startswith(f"array {COLUMN} ") for line in parts(arrays, values))
    again = Learner.from_state_dict(config, arrays, values)
    assert np.array_equal(counter(again)[: len(again.items)], arrays[COLUMN])
    teach(again, world, 1)
    assert counter(again).sum() == again.events


def test_a_checkpoint_from_before_it_was_added_is_read_and_it_starts_empty(config, world, teach, request):
    learner = Learner(config)
    teach(learner, world, 2)
    arrays, values = learner.state_dict()
    request.getfixturevalue("clicks")
    again = Learner.from_state_dict(config, arrays, values)
    assert len(counter(again)) >= len(again.items)
    assert not counter(again).any()


@pytest.mark.slow
def test_incremental_checkpoints_have_its_changed_rows(clicks, config, world, teach, tmp_path):
    model = config.model.model_copy(update={"buckets": 4096})  # so that most of the tables stays as it is
    learner, store = Learner(config.model_copy(update={"model": model})), CheckpointStore(tmp_path, 5)
    copy, name = LearnerCopy(learner), ""
    for _ in range(3):
        teach(learner, world, 1, 16)
        expected = counter(learner)[: len(learner.items)].copy()
        copy.begin()
        teach(learner, world, 1, 16)  # training goes on while the copy is made
        copy.advance(60.0)
        name = store.write(copy.dense_arrays(), {"learner": copy.values}, rows=TableRows(copy.tables, name), **ABOUT)
        assert np.array_equal(store.read(name).arrays[COLUMN], expected)
    assert len(store.manifest(name).chain) > 1


def test_a_recycled_row_starts_at_nothing(clicks, config, new_world):
    ids = IdsConfig(items=IdLimits(cap=3), users=IdLimits(cap=2), reuse_after=2)
    learner, world = Learner(config.model_copy(update={"ids": ids})), new_world()
    learner.train(learner.prepare(world.clicks(["a"] * 4, ["x", "y", "y", "z"])))
    learner.train(learner.prepare(world.clicks(["a"] * 2, ["x", "z"])))
    assert counter(learner)[1] == 2
    learner.train(learner.prepare(world.clicks(["a"], ["new"])))
    learner.train(learner.prepare(world.clicks(["b"], ["new"])))
    assert (learner.recycled, learner.items.table.ids[1]) == (1, "new")
    assert counter(learner)[1] == 1
    learner.train(learner.prepare(world.clicks(["c"], ["new"])))  # a is the longest unseen user
    assert counter(learner, "visits")[learner.users.table.find(["c"])[0]] == 1


@pytest.mark.slow
def test_snapshot_delta_and_mirror_have_it(clicks, config, world, teach):
    learner, mirror = Learner(config), Mirror()
    teach(learner, world, 10)
    learner.discard_delta()
    snapshot = Snapshot.decode(encoded(make_snapshot(learner, SnapshotOrigin(1, 1))))
    encoder = SnapshotEncoder(
        make_snapshot_manifest(learner, SnapshotOrigin(1, 1)), learner.state_dict()[0], learner.tables
    )
    assert np.array_equal(Snapshot.decode(encoded(encoder)).items[COLUMN], snapshot.items[COLUMN])
    mirror.load_version(version_of(learner, snapshot))
    teach(learner, world, 2)
    delta = StateDelta.decode(learner.delta(epoch=1).encode())
    assert np.array_equal(delta.item_tables[COLUMN], counter(learner)[delta.item_rows])
    assert mirror.apply_state(delta)
    rows, users = np.arange(len(learner.items)), np.arange(len(learner.users))
    assert np.array_equal(mirror.state.item_tables.gather(COLUMN, rows), counter(learner)[rows])
    assert np.array_equal(mirror.state.user_tables.gather("visits.count", users), counter(learner, "visits")[users])


def test_without_registered_tables_no_byte_is_sent_for_them(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 1)
    delta = learner.delta()
    assert not delta.item_tables
    assert not delta.user_tables
    assert not any("." in name for name in make_snapshot(learner, SnapshotOrigin(1, 1)).items)


def test_names_are_taken_once(clicks):
    with pytest.raises(ValueError, match="cannot name a table"):
        extra_tables.register("clicks", ClickCounter, TableKind.ITEM)
    with pytest.raises(ValueError, match="cannot name a table"):
        extra_tables.register("no.dots", ClickCounter, TableKind.ITEM)
