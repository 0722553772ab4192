"""Checkpoints in the names of the format before are read, go on to the last bit, and can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hsnn.trainer.checkpoint import renamed_parts, store
from hsnn.trainer.checkpoint.digest import digest, parts
from hsnn.trainer.checkpoint.renamed_parts import FORMAT, in_old_names, new_name, old_name
from hsnn.trainer.checkpoint.store import MANIFEST, CheckpointStore, Manifest
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.training.learner import Learner

ABOUT: dict[str, Any] = {"events": 1, "watermark": 2, "model": {}, "config_digest": "", "threads": 1}
OLD = ("states.values", "lagged.values", "lagged.sizes", "leaves.node_of", "leaves.mass", "lodging.turns")
OLD += ("lodging.items.seen", "lodging.users.candidate_counts")
OLD_VALUES = ("_last_batch", "leaves_shift", "steering")


@pytest.fixture
def full(config: TrainerConfig) -> TrainerConfig:
    """A learner that has all parts."""
    model = config.model.model_copy(update={"cross": True, "tasks": ("click",)})
    ids = IdsConfig(items=IdLimits(cap=90), users=IdLimits(cap=40))
    return config.model_copy(update={"model": model, "ids": ids})


@pytest.fixture
def old_checkpoint(
    tmp_path: Path, full: TrainerConfig, world: Any, teach: Callable[..., Any]
) -> tuple[CheckpointStore, Learner]:
    """A checkpoint as the version before wrote it, and the learner that it is of."""
    learner = Learner(full)
    teach(learner, world, 12)
    arrays, values = learner.state_dict()
    folder = CheckpointStore(tmp_path, kept=3)
    old_values = {old_name(f"learner.{name}").removeprefix("learner."): value for name, value in values.items()}
    old_arrays = {old_name(name): array for name, array in arrays.items()}
    assert {*OLD} <= old_arrays.keys()
    assert {*OLD_VALUES} <= old_values.keys()
    name = folder.write(old_arrays, {"learner": old_values}, **ABOUT)
    path = tmp_path / name / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    plain = msgspec.structs.replace(manifest, format=msgspec.UNSET).sealed()
    path.write_bytes(msgspec.json.encode(plain))
    return folder, learner


@pytest.mark.slow
def test_an_old_checkpoint_is_read_under_the_new_names(old_checkpoint):
    folder, learner = old_checkpoint
    found = folder.newest()
    arrays, values = learner.state_dict()
    assert digest(found.arrays, found.values) == digest(arrays, {"learner": values})


@pytest.mark.slow
def test_a_learner_goes_on_from_it_to_the_last_bit(old_checkpoint, full, world, teach):
    folder, learner = old_checkpoint
    found = folder.newest()
    again = Learner.from_state_dict(full, found.arrays, found.values["learner"])
    batch = world.batch(64)
    for each in (learner, again):
        each.train(each.prepare(batch))
    (one, ours), (other, theirs) = learner.state_dict(), again.state_dict()
    assert ours == theirs
    assert all(np.array_equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)


@pytest.mark.slow
def test_old_manifests_have_no_format_and_keep_their_seal(old_checkpoint):
    folder, _ = old_checkpoint
    name = folder.names()[-1]
    assert b'"format"' not in (folder.folder / name / MANIFEST).read_bytes()
    assert folder.manifest(name).format is msgspec.UNSET
    learner = old_checkpoint[1]
    arrays, values = learner.state_dict()
    newer = folder.write(arrays, {"learner": values}, **ABOUT)
    assert folder.manifest(newer).format == FORMAT
    assert store.FORMAT == renamed_parts.FORMAT


@pytest.mark.slow
def test_parts_of_both_formats_compare_line_by_line(old_checkpoint):
    folder, learner = old_checkpoint
    found = folder.newest()
    arrays, values = learner.state_dict()
    lines = parts(arrays, {"learner": values})
    old = {old_name(name): array for name, array in arrays.items()}
    old_values = {old_name(f"learner.{name}").removeprefix("learner."): value for name, value in values.items()}
    assert in_old_names(lines) == parts(old, {"learner": old_values})
    assert in_old_names(parts(found.arrays, found.values)) == in_old_names(lines)


def test_names_go_there_and_back(full, world, teach):
    learner = Learner(full)
    teach(learner, world, 1)
    arrays, values = learner.state_dict()
    names = [*arrays, *(f"learner.{name}" for name in values)]
    assert [new_name(old_name(name)) for name in names] == names
    assert len({old_name(name) for name in names}) == len(names)
