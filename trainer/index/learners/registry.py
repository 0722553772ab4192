"""The index learners by name."""

from __future__ import annotations

from trainer.config import TrainerConfig
from trainer.index.em import Em
from trainer.index.learner import IndexLearner
from trainer.index.lti import Lti
from trainer.index.oneshot import OneShot
from trainer.index.sil import Sil
from trainer.index.streaming_vq import StreamingVq

LEARNERS: dict[str, type[IndexLearner]] = {
    "oneshot": OneShot, "lti": Lti, "em": Em, "sil": Sil, "streaming_vq": StreamingVq,
}  # fmt: skip


def new_learner(config: TrainerConfig) -> IndexLearner:
    """Make the learner that the configuration names."""
    return LEARNERS[config.index.learner](config)
