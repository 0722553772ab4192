"""An index learner is added by one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.learner_registry import new_learner
from hsnn.trainer.training.learner import Learner
from tests.extensions import one_file_added

FROZEN = """
    from hsnn.trainer.index.index_learner import IndexLearner

    class FrozenNodes(IndexLearner):
        task_loss_moves_nodes = False

    LEARNER = FrozenNodes
    """


def test_a_learner_is_added_by_one_file(config: TrainerConfig, world: Any, tmp_path: Path) -> None:
    with one_file_added("hsnn.trainer.index.learners", tmp_path, "frozen", FROZEN):
        learner = Learner(config.model_copy(update={"index": IndexConfig(learner="frozen")}))
        report = learner.train(learner.prepare(world.batch(32)))
        assert report.events == 32
        assert type(new_learner(learner.config)).__name__ == "FrozenNodes"


def test_an_unknown_learner_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ValidationError, match="no index learner 'frozen'; there are em, lti"):
        IndexConfig(learner="frozen")
