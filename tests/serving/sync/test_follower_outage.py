"""While Redis does not answer, or refuses to, a server obeys announced ends by the time elapsed."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.monitoring.health import Health
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.sync.follower import VERSION, WARM, MirrorFollower
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from hsnn.trainer.features.mass_expiry import QuietClock
from tests.waiting import wait_until


class Refusing:
    """A Redis that refuses every command."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*arguments: Any, **options: Any) -> Any:
            raise NoPermissionError(f"User hsnn has no permissions to run the {name!r} command")

        return refuse


def test_ends_are_obeyed_while_redis_refuses(fresh_plant):
    plant, mirror, seconds = fresh_plant, Mirror(), [0.0]
    plant.add("ends", 0, expires_at=plant.now + 3_600_000)
    plant.add("stays", 1)
    plant.load(mirror)
    quiet = QuietClock(lambda: seconds[0])
    follower = MirrorFollower(Refusing(), mirror, ServingMetrics(), Health(VERSION, WARM), quiet)
    follower.start()
    try:
        wait_until(lambda: quiet.elapsed_ms(plant.now) == 0 and found(mirror) == {"ends", "stays"})
        seconds[0] += 3_600
        wait_until(lambda: found(mirror) == {"stays"})
    finally:
        follower.stop()


@pytest.mark.slow  # it waits for an answer of Redis for 5 s
def test_ends_are_obeyed_while_redis_hangs(fresh_plant):
    plant, mirror, seconds = fresh_plant, Mirror(), [0.0]
    plant.add("ends", 0, expires_at=plant.now + 3_600_000)
    plant.add("stays", 1)
    quiet, metrics = QuietClock(lambda: seconds[0]), ServingMetrics()
    with EmbeddedRedis() as redis:
        client = connect(redis.url)
        plant.write(client)
        client.set(key("current"), 1)
        follower = MirrorFollower(
            connect(redis.url, retry_timeouts=False), mirror, metrics, Health(VERSION, WARM), quiet
        )
        follower.start()
        try:
            wait_until(lambda: mirror.loaded and found(mirror) == {"ends", "stays"})
            assert quiet.elapsed_ms(mirror.watermark) == 0  # from here on
            redis.send_signal(signal.SIGSTOP)
            seconds[0] += 3_600
            # ten attempts of five seconds each would take longer
            wait_until(lambda: found(mirror) == {"stays"})
        finally:
            redis.send_signal(signal.SIGCONT)
            follower.stop()


def found(mirror: Mirror) -> set[str]:
    return set(retrieve(mirror, [Request(user="x", k=50, mode="exhaustive")], RetrievalLimits(max_k=50))[0].items)
