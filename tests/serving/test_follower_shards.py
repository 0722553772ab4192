"""A mirror of versions whose items are spread over shards, on every kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from indexer.delta import Delta
from indexer.parts import Part, shard_of
from monitoring.health import Health
from serving.follower import LOOP, VERSION, WARM, Follower
from serving.metrics import ServingMetrics
from serving.mirror import Mirror
from streaming.keys import key
from tests.waiting import come_true

pytestmark = pytest.mark.every_server
SHARDS = (1, 4, 3)


@pytest.fixture
def mirror(redis_client) -> Iterator[Mirror]:
    mirror, health = Mirror(), Health(VERSION, WARM)
    health.expect(LOOP, within=5)
    follower = Follower(redis_client, mirror, ServingMetrics(), health)
    follower.start()
    yield mirror
    follower.end()


def test_deltas_of_all_shards_arrive_and_a_flip_leads_to_other_shards(redis_client, plant, mirror) -> None:
    def tell(number: int, shards: int, delta: Delta) -> None:
        redis_client.xadd(Part(number, shard_of(delta.item, shards)).deltas, {b"d": delta.encode()})

    for shards, before in zip(SHARDS, (0, *SHARDS), strict=False):
        number = plant.write(redis_client, shards=shards)
        told = np.array(plant.vectors)
        redis_client.set(key("current"), number)
        if before:
            redis_client.xadd(Part(number - 1, 0).deltas, {b"d": Delta("superseded", version=number).encode()})
        come_true(lambda number=number: mirror.version == number)
        assert np.array_equal(mirror.world.index.vectors[: len(told)], told)
        assert mirror.world.index.leaves.node_of[: len(told)].tolist() == plant.nodes
        for item in range(8):
            name = f"new{number}-{item}"
            tell(number, shards, plant.add(name, item % 6, topic="new"))
        come_true(lambda number=number: all(mirror.indexed(f"new{number}-{item}") for item in range(8)))
