"""Weights alone: the same arrays under the same names as a snapshot carries, in a file that anybody can open."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from hsnn.trainer.checkpoint.export import export, weights_of
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.errors import CheckpointError


@pytest.fixture
def checkpoint(taught, tmp_path):
    learner = taught[0]
    arrays, values = learner.state_dict()
    store = CheckpointStore(tmp_path / "checkpoints", kept=1)
    model = learner.config.model.model_dump(mode="json")
    name = store.write(arrays, values, events=7, watermark=8, model=model, config_digest="d", threads=1)
    return store.read(name)


def test_it_holds_what_a_snapshot_holds(checkpoint, taught, tmp_path):
    expected = taught[0].network.weights()
    export(checkpoint, tmp_path / "weights.safetensors")
    found = load_file(tmp_path / "weights.safetensors")
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert found[name].dtype == weight.dtype
        np.testing.assert_array_equal(found[name], weight)
    assert weights_of(checkpoint.arrays).keys() == expected.keys()


def test_it_says_where_it_came_from(checkpoint, tmp_path):
    file = tmp_path / "weights.safetensors"
    export(checkpoint, file)
    with safe_open(file, "numpy") as opened:
        about = opened.metadata()
    assert (about["checkpoint"], about["events"], about["watermark"]) == (checkpoint.name, "7", "8")
    assert json.loads(about["model"]) == checkpoint.manifest.model


def test_it_is_never_written_over_another_file_or_into_nothing(checkpoint, tmp_path):
    file = tmp_path / "mine"
    file.write_text("mine")
    with pytest.raises(CheckpointError, match="mine exists already; name another file"):
        export(checkpoint, file)
    assert file.read_text() == "mine"
    with pytest.raises(CheckpointError, match=r"cannot write .*w: No such file or directory"):
        export(checkpoint, tmp_path / "no" / "w")
