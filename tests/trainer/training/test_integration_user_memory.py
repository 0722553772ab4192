"""A learner's memory of past items is saved, forgotten, recycled, sent and mirrored as its other tables are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.serving.mirror.users import MirroredUsers
from hsnn.trainer.checkpoint.digest import digest, parts
from hsnn.trainer.checkpoint.learner_copy import LearnerCopy
from hsnn.trainer.checkpoint.row_delta import TableRows
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.exclude import ExcludeConfig
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.memory import MemoryConfig
from hsnn.trainer.features.user_memory import UserMemory
from hsnn.trainer.messages import ExclusionRule, Snapshot, StateDelta
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot, make_snapshot_manifest
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.training.learner import Learner
from tests.trainer.encoded import encoded

ABOUT: dict[str, Any] = {"events": 1, "watermark": 2, "model": {}, "config_digest": "", "threads": 1}
NAMES = ("memory.entries:bytes", "memory.entries:lengths")


def remembered(memory: UserMemory, users: int) -> tuple[list[int], bytes]:
    entries = memory.select(np.arange(users))
    return entries.lengths.tolist(), entries.bytes.tobytes()


def items_of(learner: Learner, user: str) -> dict[str, int]:
    """Counts of a user's items by their ids, oldest first."""
    entries = learner.memory.gather(learner.users.table.find([user]))
    names = [learner.items.table.ids[row] for row in entries.items[0].tolist()]
    return dict(zip(names, entries.counts[0].tolist(), strict=True))


def learn(learner: Learner, world: Any, by: list[str], on: list[str], **more: Any) -> None:
    learner.train(learner.prepare(world.clicks(by, on, **more)))


def test_a_batch_reads_what_was_remembered_before_it_and_is_remembered_after_it(config, world):
    learner = Learner(config)
    learn(learner, world, ["x", "x", "y"], ["a", "b", "a"])
    prepared = learner.prepare(world.clicks(["y", "x", "x"], ["b", "a", "c"]))
    assert [[learner.items.table.ids[row] for row in rows if row >= 0] for rows in prepared.memory.items.tolist()] == [
        ["a"],
        ["a", "b"],
        ["a", "b"],
    ]
    assert [len(part.memory.items) for part in prepared.parts(2)] == [2, 1]
    assert [len(part.actions) for part in prepared.parts(2)] == [2, 1]
    learner.train(prepared)
    assert items_of(learner, "x") == {"b": 1, "a": 2, "c": 1}
    assert items_of(learner, "y") == {"a": 1, "b": 1}


def test_a_part_whose_step_is_refused_is_not_remembered(config, world, teach, monkeypatch):
    learner = Learner(config)
    teach(learner, world, 2)
    before = remembered(learner.memory, len(learner.users))
    prepared = learner.prepare(world.clicks(["u1"], ["c1-1"]))
    losses = learner.network.step
    monkeypatch.setattr(learner.network, "step", lambda *all, **named: losses(*all, **named)._replace(refused="test"))
    learner.train(prepared)
    assert remembered(learner.memory, len(learner.users)) == before


@pytest.mark.slow
def test_checkpoint_and_digest_have_it_and_a_restored_learner_goes_on_bit_for_bit(config, world, new_world, teach):
    learner = Learner(config)
    teach(learner, world, 6)
    arrays, values = learner.state_dict()
    assert {line.split()[1] for line in parts(arrays, values)} >= set(NAMES)
    again = Learner.from_state_dict(config, arrays, values)
    assert remembered(again.memory, len(again.users)) == remembered(learner.memory, len(learner.users))
    for one in (learner, again):
        more = new_world()
        more.known, more.now = set(world.known), world.now
        teach(one, more, 3)
    assert digest(*learner.state_dict()) == digest(*again.state_dict())


def test_a_checkpoint_from_before_there_was_a_memory_is_read_and_it_starts_empty(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 2)
    arrays, values = learner.state_dict()
    again = Learner.from_state_dict(config, {name: arrays[name] for name in arrays.keys() - set(NAMES)}, values)
    assert remembered(again.memory, len(again.users)) == ([0] * len(again.users), b"")
    teach(again, world, 1)
    assert sum(remembered(again.memory, len(again.users))[0]) > 0


@pytest.mark.slow
def test_incremental_checkpoints_have_what_changed(config, world, teach, tmp_path):
    model = config.model.model_copy(update={"buckets": 4096})  # so that most of the tables stays as it is
    learner, store = Learner(config.model_copy(update={"model": model})), CheckpointStore(tmp_path, 5)
    copy, name = LearnerCopy(learner), ""
    for _ in range(3):
        teach(learner, world, 1, 16)
        expected = learner.state_dict()
        copy.begin()
        teach(learner, world, 1, 16)  # training goes on while the copy is made
        copy.advance(60.0)
        name = store.write(copy.dense_arrays(), {"learner": copy.values}, rows=TableRows(copy.tables, name), **ABOUT)
        read = store.read(name).arrays
        assert all(np.array_equal(read[part], expected[0][part]) for part in NAMES)
        assert digest(read, {}) == digest(expected[0], {})
    assert len(store.manifest(name).chain) > 1


def test_a_learner_without_users_is_saved_as_it_is_copied(config):
    learner = Learner(config)
    copy = LearnerCopy(learner)
    copy.begin()
    copy.advance(60.0)
    assert [copy.arrays()[part].shape for part in NAMES] == [learner.state_dict()[0][part].shape for part in NAMES]


def test_a_forgotten_user_is_not_remembered(config, world):
    learner = Learner(config)
    learn(learner, world, ["x", "y"], ["a", "a"])
    learn(learner, world, ["y"], ["b"], deleted_users=["x"])
    assert items_of(learner, "x") == {}
    assert items_of(learner, "y") == {"a": 1, "b": 1}
    row = learner.users.table.find(["x"])[0]
    assert row in learner.delta().user_rows


def test_recycled_rows_take_nothing_over(config, new_world):
    ids = IdsConfig(items=IdLimits(cap=3), users=IdLimits(cap=2), reuse_after=2)
    learner, world = Learner(config.model_copy(update={"ids": ids})), new_world()
    learn(learner, world, ["a"] * 4, ["x", "y", "y", "z"])
    learn(learner, world, ["a"] * 2, ["x", "z"])
    assert items_of(learner, "a") == {"y": 2, "x": 2, "z": 2}
    learn(learner, world, ["a"], ["new"])  # the longest unseen item, y, leaves; its row is given out in the next batch
    learner.discard_delta()
    learn(learner, world, ["b"], ["new"])
    assert (learner.recycled, learner.items.table.ids[1]) == (1, "new")
    assert items_of(learner, "a") == {"x": 2, "z": 2}
    assert items_of(learner, "b") == {"new": 1}
    assert learner.users.table.find(["a"])[0] in learner.delta().user_rows
    learn(learner, world, ["c"], ["new"])  # a is the longest unseen user
    assert items_of(learner, "c") == {"new": 1}


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["snapshot", "checkpoint"])
def test_the_mirror_has_it_after_a_snapshot_and_after_deltas(config, world, teach, encoder):
    learner = Learner(config)
    teach(learner, world, 5)
    learner.discard_delta()
    snapshot, copied = make_snapshot(learner, SnapshotOrigin(1, 1)), learner.state_dict()[0]
    if encoder == "checkpoint":
        manifest = make_snapshot_manifest(learner, SnapshotOrigin(1, 1))
        snapshot = Snapshot.decode(encoded(SnapshotEncoder(manifest, copied, learner.tables)))
    mirrored = MirroredUsers(config.model, snapshot.user_ids, snapshot.users)
    assert remembered(mirrored.memory, len(learner.users)) == remembered(learner.memory, len(learner.users))
    for _ in range(3):
        teach(learner, world, 1, 16)
        learner.forget_users(np.array([3]))
        delta = StateDelta.decode(learner.delta(epoch=1).encode())
        assert 0 < len(delta.user_rows) < len(learner.users)
        for _ in range(2):  # values are absolute: a message that is read twice changes nothing
            mirrored.apply_state(delta)
        assert remembered(mirrored.memory, len(learner.users)) == remembered(learner.memory, len(learner.users))


def test_messages_from_before_there_was_a_memory_leave_it_empty(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 1)
    users = make_snapshot(learner, SnapshotOrigin(1, 1)).users
    old = {name: array for name, array in users.items() if not name.startswith("memory")}
    mirrored = MirroredUsers(config.model, learner.users.table.ids, old)
    assert mirrored.memory.gather(np.arange(len(learner.users))).items.shape == (len(learner.users), 0)


@pytest.mark.parametrize(("rule", "expected"), [("recent", "dc"), ("seen", "abcd"), ("nothing", "")])
def test_a_batch_knows_what_is_left_out_at_each_event_and_the_manifest_says_by_which_rule(
    config, world, rule, expected
):
    exclude = ExcludeConfig(rule=rule, items=2, time=0.5)
    learner = Learner(config.model_copy(update={"exclude": exclude, "memory": MemoryConfig(items=7, time=3600)}))
    learn(learner, world, ["x"] * 4, ["a", "b", "c", "d"])
    prepared = learner.prepare(world.clicks(["y", "x", "x"], ["a", "c", "e"]))
    names = learner.items.table.ids
    left_out = [{names[row] for row in rows if row >= 0} for rows in prepared.excluded.tolist()]
    assert left_out == [set(), set(expected), set(expected)]
    assert [part.excluded.tolist() for part in prepared.parts(2)] == [
        prepared.excluded[:2].tolist(),
        prepared.excluded[2:].tolist(),
    ]
    manifest = make_snapshot_manifest(learner, SnapshotOrigin(1, 1))
    assert manifest.exclusion == ExclusionRule(rule, items=2, time_ms=500, keep_ms=3_600_000)
