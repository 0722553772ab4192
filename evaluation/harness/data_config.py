"""One configuration for all data: what only the data can say is taken from there, and nothing else."""

from __future__ import annotations

from collections import Counter

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig


def config_for_dataset(config: TrainerConfig, data: Dataset) -> TrainerConfig:
    """Fill in when items leave, and which actions answer impressions, where the configuration leaves both open."""
    if config.expire_after_idle is None:
        config = config.model_copy(update={"expire_after_idle": data.expire_after_idle})
    if data.impressions is not None and not config.model.tasks:
        counts = Counter(data.engagements.action)
        tasks = tuple(action for action, _ in counts.most_common())
        config = config.model_copy(update={"model": config.model.model_copy(update={"tasks": tasks})})
    return config


def join_config(config: TrainerConfig) -> StreamingConfig:
    """How impressions are joined for the tasks of a model."""
    return StreamingConfig(tasks=config.model.tasks)
