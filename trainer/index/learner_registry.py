"""Index learners by their name in the configuration, which is that of their module in `trainer/index/learners`."""

from __future__ import annotations

from importlib import import_module

from hsnn.trainer.config.index import LEARNERS_PACKAGE
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.index_learner import IndexLearner


def new_learner(config: TrainerConfig) -> IndexLearner:
    """Create the learner that the configuration names: the class that its module declares as `LEARNER`."""
    learner: type[IndexLearner] = import_module(f"{LEARNERS_PACKAGE}.{config.index.learner}").LEARNER
    return learner(config)
