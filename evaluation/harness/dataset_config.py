"""Configuration derived from a data set: only what the data alone can tell, and only where it was left open."""

from __future__ import annotations

from collections import Counter

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.datasets.base import Dataset
from hsnn.trainer.config.model import TrainerConfig


def config_for_dataset(config: TrainerConfig, data: Dataset) -> TrainerConfig:
    """Fill in when items expire, and the tasks that impressions are labelled for, where `config` leaves them open."""
    if config.expire_after_idle is None:
        config = config.model_copy(update={"expire_after_idle": data.expire_after_idle})
    if data.impressions is not None and not config.model.tasks:
        counts = Counter(data.engagements.action)
        tasks = tuple(action for action, _ in counts.most_common())
        config = config.model_copy(update={"model": config.model.model_copy(update={"tasks": tasks})})
    return config


def join_config(config: TrainerConfig) -> StreamingConfig:
    """Configure the join of impressions with engagements for the tasks of a model."""
    return StreamingConfig(tasks=config.model.tasks)
