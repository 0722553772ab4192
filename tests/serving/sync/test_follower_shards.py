"""A mirror of versions whose items are spread over shards, on every kind of server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.shards import VersionShard, shard_of
from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import LOOP, VERSION, WARM, MirrorFollower
from hsnn.streaming.redis.keys import key
from tests.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.every_server
SHARDS = (1, 4, 3)


class CallbackClient:
    """A client; once a question names `stream`, and was answered, something is done before the answer is given."""

    def __init__(self, redis) -> None:
        self._redis, self.stream, self.happens = redis, "", lambda: None

    def __getattr__(self, name):
        return getattr(self._redis, name)

    def xread(self, positions, **options):
        answer = self._redis.xread(positions, **options)
        if self.stream in positions:
            self.stream = ""
            self.happens()
        return answer


@pytest.fixture
def mirror(redis_client) -> Iterator[Mirror]:
    mirror, health = Mirror(), Health(VERSION, WARM)
    health.expect(LOOP, within=DEADLINE)
    follower = MirrorFollower(redis_client, mirror, ServingMetrics(), health)
    follower.start()
    yield mirror
    follower.stop()


@pytest.mark.slow
def test_deltas_of_all_shards_arrive_and_a_flip_leads_to_other_shards(redis_client, plant, mirror) -> None:
    def tell(number: int, shards: int, delta: Delta) -> None:
        redis_client.xadd(VersionShard(number, shard_of(delta.item, shards)).delta_stream, {b"d": delta.encode()})

    for shards, before in zip(SHARDS, (0, *SHARDS), strict=False):
        number = plant.write(redis_client, shards=shards)
        expected = np.array(plant.vectors)
        redis_client.set(key("current"), number)
        if before:
            redis_client.xadd(
                VersionShard(number - 1, 0).delta_stream, {b"d": Delta("superseded", version=number).encode()}
            )
        wait_until(lambda number=number: mirror.version == number)
        assert np.array_equal(mirror.state.index.vectors[: len(expected)], expected)
        assert mirror.state.index.leaves.node_of[: len(expected)].tolist() == plant.nodes
        for item in range(8):
            name = f"new{number}-{item}"
            tell(number, shards, plant.add(name, item % 6, topic="new"))
        wait_until(lambda number=number: all(mirror.is_indexed(f"new{number}-{item}") for item in range(8)))


@pytest.mark.slow
def test_what_was_written_before_something_is_applied_before_it(redis_client, plant, monkeypatch) -> None:
    """Between a look at shard 0 and one at shard 1, first an item of shard 0 left and then one of shard 1 came."""
    number = plant.write(redis_client, shards=2)
    redis_client.set(key("current"), number)
    gone = next(item for item in plant.ids if shard_of(item, 2) == 0)
    new = next(name for name in map(str, range(99)) if shard_of(name, 2) == 1)
    deltas = [Delta("delete", plant.epoch, plant.ids.index(gone), gone), plant.add(new, 0, topic="new")]

    def write() -> None:
        for call, delta in enumerate(deltas, 1):
            redis_client.xadd(VersionShard(number, call - 1).delta_stream, {b"d": delta.encode(), b"c": call})

    mirror, client, applied = Mirror(), CallbackClient(redis_client), []
    apply = mirror.apply_deltas
    monkeypatch.setattr(mirror, "apply_deltas", lambda some: (applied.extend(some), apply(some))[1])
    follower = MirrorFollower(client, mirror, ServingMetrics(), Health(VERSION, WARM))
    follower._poll()
    client.stream, client.happens = VersionShard(number, 0).delta_stream, write
    while len(applied) < 2:
        follower._poll()
    assert applied == deltas
