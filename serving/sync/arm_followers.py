"""Followers of the indexes of other loops."""

from __future__ import annotations

from collections.abc import Mapping

from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sync.arm_index import ArmIndex
from hsnn.serving.sync.follower import VERSION, WARM, MirrorFollower
from hsnn.serving.sync.index_gauges import ArmIndexGauges
from hsnn.streaming.redis.client import connect


class ArmFollowers:
    """Keeps the mirrors of such indexes up to date, each with a thread and a connection of its own; none without any.

    What becomes of them decides neither whether the server is ready nor whether it is live.

    Parameters
    ----------
    indexes
        By prefix.
    redis_url
        Redis server of all of them.
    """

    def __init__(self, indexes: Mapping[str, ArmIndex], redis_url: str, metrics: ServingMetrics) -> None:
        self._clients = {prefix: connect(redis_url, retry_timeouts=False) for prefix in indexes}
        self._followers = [
            MirrorFollower(
                client,
                indexes[prefix].mirror,
                metrics,
                Health(VERSION, WARM),
                gauges=ArmIndexGauges(metrics, prefix),
                prefix=prefix,
            )
            for prefix, client in self._clients.items()
        ]

    def start(self) -> None:
        """Start to follow."""
        for follower in self._followers:
            follower.start()

    def stop(self) -> None:
        """Stop, and close the connections."""
        for follower in self._followers:
            follower.stop()
        for client in self._clients.values():
            client.close()
