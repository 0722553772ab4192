"""What the trainer writes, on every kind of server: a cluster takes no call of several slots, nor every pipeline."""

from __future__ import annotations

import pytest

from hsnn.indexer.store import streams
from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.messages import FeedItem
from hsnn.trainer.publish.redis_writer import RedisWriter

pytestmark = pytest.mark.every_server


def test_a_trainer_writes_to_a_cluster_as_to_a_single_server(redis_client: Redis) -> None:
    writer = RedisWriter(redis_client)
    epoch = writer.epoch
    writer.write_feed([FeedItem(id="i", row=0, tokens=[], features={}, ts=1, sent_at=1)])
    writer.write_alarm(Alarm(id="a:1", kind="a", ts=1, value=1.0, threshold=0.5), snapshot=writer.next_snapshot())
    for trained in (5, 6):
        writer.write_progress({"trained": trained})
    assert not writer.server_restarted
    assert redis_client.hget(key("progress"), "trained") == b"6"
    assert streams.last_id(redis_client, key("feed")) == writer.feed_id
    assert redis_client.xlen(key("alarms")) == 1
    writer.restart_epochs()
    assert writer.epoch == epoch + 1
