"""Partitions that are added to the engagements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import TRAINER
from benchmarks.chaos.watch import Sign, says
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.redis.client import connect

_TOPIC = StreamingConfig().engagements_topic
KIND = "a partition is added"
MOST_ADDED = 10
"""Partitions that a run adds: each costs every poll something."""


class AddedPartition(Disruption):
    """One more partition, which gets its share of the events from then on."""

    def signs(self) -> Sequence[Sign]:
        return (says(self.scene.loop.roles[TRAINER].log, "partitions were added and are read from here on"),)

    def strike(self) -> None:
        self.scene.traffic.add_partition(self._add)

    def durations(self) -> tuple[float, float]:
        return (0.0, 0.0)

    def _add(self, log: EventLog) -> None:
        count, url = len(log.partitions(_TOPIC)) + 1, self.scene.loop.log_url
        if url.startswith("redis"):
            client = connect(url)
            client.hset("hsnn:log:topics", _TOPIC, count)
            client.close()
            return
        from kafka.admin import KafkaAdminClient, NewPartitions

        admin = KafkaAdminClient(bootstrap_servers=url.removeprefix("kafka://"))
        admin.create_partitions({_TOPIC: NewPartitions(count)})
        admin.close()


def variants(_: Scene) -> list[Variant]:
    """List the one."""
    return [(KIND, partial(AddedPartition, KIND))]
