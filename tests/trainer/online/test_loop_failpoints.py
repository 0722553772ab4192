"""A trainer names the phases of its work, before each is done and after, in the order in which an event meets them."""

from __future__ import annotations

from itertools import groupby

import pytest

from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import FAILPOINTS, set_failpoint_hook
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.online.loop import OnlineLoop


@pytest.fixture
def met():
    met: list[str] = []
    set_failpoint_hook(met.append)
    yield met
    set_failpoint_hook(None)


@pytest.mark.slow
def test_every_phase_is_met_in_order(met, config, redis_server, redis_client, tmp_path, with_index):
    log = RedisLog(redis_server)
    log.create_topic("engagements", 1)
    events = [
        Interaction(id=at, ts=1_700_000_000_000 + at, user="ann", item=f"i{at}", action="click") for at in range(64)
    ]
    log.append("engagements", [ProducerRecord(b"ann", encode(event)) for event in events])
    config = with_index(config, seed_after=0).model_copy(update={"checkpoint_dir": tmp_path})
    streaming = StreamingConfig(batch_size=64, partitions=1, max_wait=0.05)
    loop = OnlineLoop(config, streaming, MonitoringConfig(), log, redis_client, "digest")
    loop.run(lambda: loop.progress.trained == 64 and not loop._publisher.busy)
    log.close()
    order = [phase for phase, _ in groupby(phase for phase in met if phase != "poll")]  # the log is asked all along
    # A checkpoint is four files, each written and brought to disk. On a slow machine states are due once more.
    expected = ["step", *["write", "fsync"] * 4, "rename", "publish", "commit"]
    assert order[: len(expected)] == expected
    assert set(order[len(expected) :]) <= {"publish"}
    assert met.index("poll") < met.index("step")
    assert all(met.count(phase) % 2 == 0 for phase in FAILPOINTS if phase != "poll")  # a thread may be at one
