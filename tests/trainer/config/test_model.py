from __future__ import annotations

import pytest
from pydantic import ValidationError

from hsnn.trainer.config.model import ModelConfig, TrainerConfig


def test_another_shape_is_named_and_beam_and_budget_are_none():
    config = ModelConfig()
    assert config.shape_differences(config.model_dump(mode="json")) == []
    changed = ModelConfig(beam=3, budget=4, history=7, ignored_features=("title", "url"))
    assert config.shape_differences(changed.model_dump(mode="json")) == ["history", "ignored_features"]
    older = config.model_dump(mode="json")
    del older["node_heads"]
    assert config.shape_differences(older) == ["node_heads"]


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"nodes": 1}, {"unknown": 1}, {"beam": 0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        ModelConfig(**wrong)


def test_durations_are_read():
    config = TrainerConfig(expire_after_idle="24h", flush_interval="200ms")
    assert (config.expire_after_idle, config.flush_interval) == (86400.0, 0.2)
