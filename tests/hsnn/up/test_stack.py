from __future__ import annotations

import pytest

from hsnn.config.loader import load
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.up.data_set import OtherDataError
from hsnn.up.stack import FolderInUseError, LocalStack
from tests.waiting import wait_until


@pytest.fixture
def stack(tmp_path):
    made = LocalStack(load(), tmp_path / "shop")
    yield made
    made.end()


def test_one_folder_has_one_stack(stack):
    stack._lock_folder()
    with pytest.raises(FolderInUseError, match="another `hsnn up` runs on"):
        LocalStack(load(), stack.folder)._lock_folder()


def test_redis_keeps_its_data_and_its_port(stack):
    stack._start_redis()
    url = stack.redis_url
    log = open_log(url)
    log.create_topic("engagements", 2)
    log.append("engagements", [ProducerRecord(b"k", b"v")])
    log.close()
    assert stack._holds_events()
    stack.end()
    again = LocalStack(load(), stack.folder)
    try:
        again._start_redis()
        assert again.redis_url == url
        assert again._holds_events()
        assert "everysec" in again.durability
        again._redis.kill()
        wait_until(lambda: not again._redis.running)
        again.check()
        assert again.redis_restarts == 1
        assert again._holds_events()
    finally:
        again.end()


def test_the_roles_share_a_configuration_in_the_folder(stack):
    stack._start_redis()
    stack._loaded = load(
        overrides=["serving.port=0", "monitoring.trainer_port=9444", "trainer.snapshot_interval=3s", "trainer.seed=4"]
    )
    stack._compose(None)
    config = load(stack.file).config
    assert config == stack.config
    assert config.redis.url == config.streaming.log == stack.redis_url
    assert config.trainer.checkpoint_dir == stack.folder / "checkpoints"
    assert (config.trainer.snapshot_interval, config.monitoring.trainer_port, config.trainer.seed) == (3.0, 9444, 4)
    assert config.trainer.server == stack.server == f"http://127.0.0.1:{config.serving.port}"
    assert config.serving.port > 0


def test_events_of_the_users_own_are_not_mixed_with_a_data_set(stack):
    stack._start_redis()
    log = open_log(stack.redis_url)
    log.create_topic("items", 1)
    log.append("items", [ProducerRecord(b"k", b"v")])
    log.close()
    with pytest.raises(OtherDataError):
        stack._load("ml-100k", lambda: False)
