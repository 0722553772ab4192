"""What a checkpoint of another model says to the one who starts a trainer with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.online.resume import resume_learner


def test_a_checkpoint_of_another_shape_names_the_keys_and_both_values(config: TrainerConfig, tmp_path: Path) -> None:
    written = config.model.model_dump(mode="json") | {"dim": 99}
    del written["pair_features"]  # an older release had no such key
    checkpoint: Any = SimpleNamespace(name="checkpoint-7", manifest=SimpleNamespace(model=written))
    nothing: Any = None
    with pytest.raises(CheckpointError) as caught:
        resume_learner(config.model_copy(update={"checkpoint_dir": tmp_path}), checkpoint, nothing, nothing)
    text = str(caught.value)
    assert "checkpoint-7" in text
    assert f"trainer.model.dim = 99, not {config.model.dim}" in text
    assert "trainer.model.pair_features = not known then" in text
    assert "set trainer.checkpoint_dir to an empty folder" in text
