"""The configuration of a demo: what the user said is kept, what would leave the stage is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsnn.config.loader import Loaded, load
from hsnn.demo.settings import SUITABLE, compose, free_ports, write


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSNN_CONFIG", raising=False)


def composed(loaded: Loaded, folder: Path, idle: float | None = 86_400.0) -> Loaded:
    config = compose(
        loaded,
        folder=folder,
        redis="redis://127.0.0.1:7/0",
        log="redis://127.0.0.1:7/0",
        topics={},
        expire_after_idle=idle,
    )
    write(config, folder / "demo.toml")
    again = load(folder / "demo.toml")
    assert again.config.model_dump() == config.model_dump(), "the roles read what was composed"
    return Loaded(config, loaded.origins)


def test_the_defaults_of_the_demo_and_the_data_set(tmp_path: Path) -> None:
    config = composed(load(), tmp_path).config
    assert config.trainer.snapshot_interval == SUITABLE["trainer.snapshot_interval"]
    assert config.trainer.expire_after_idle == 86_400.0
    assert config.trainer.checkpoint_dir == tmp_path / "checkpoints"
    assert config.trainer.server == f"http://127.0.0.1:{config.serving.port}"
    assert len({config.serving.port, config.monitoring.trainer_port, config.monitoring.scheduler_port}) == 3
    assert composed(load(), tmp_path, None).config.trainer.expire_after_idle is None


def test_the_user_is_stronger_than_the_defaults_but_stays_on_the_stage(tmp_path: Path) -> None:
    wishes = [
        "trainer.snapshot_interval=2s",
        "trainer.expire_after_idle=1h",
        "streaming.batch_size=64",
        "serving.host=::1",
        "trainer.checkpoint_dir=/elsewhere",
        "redis.url=redis://elsewhere:1/0",
    ]
    config = composed(load(overrides=wishes), tmp_path).config
    assert (config.trainer.snapshot_interval, config.trainer.expire_after_idle) == (2.0, 3600.0)
    assert config.streaming.batch_size == 64
    assert config.serving.host == "127.0.0.1"
    assert config.trainer.checkpoint_dir == tmp_path / "checkpoints"
    assert config.redis.url == "redis://127.0.0.1:7/0"


def test_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50
