"""Registry of the index learners by their name in the configuration."""

from __future__ import annotations

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.learners.base import IndexLearner
from hsnn.trainer.index.learners.em import Em
from hsnn.trainer.index.learners.lti import Lti
from hsnn.trainer.index.learners.oneshot import OneShot
from hsnn.trainer.index.learners.sil import Sil
from hsnn.trainer.index.learners.streaming_vq import StreamingVq

LEARNERS: dict[str, type[IndexLearner]] = {
    "oneshot": OneShot,
    "lti": Lti,
    "em": Em,
    "sil": Sil,
    "streaming_vq": StreamingVq,
}


def new_learner(config: TrainerConfig) -> IndexLearner:
    """Create the learner that the configuration names."""
    return LEARNERS[config.index.learner](config)
