"""The index of another loop is followed beside the server's own, and neither touches the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.sync import arm_followers
from hsnn.serving.sync.arm_followers import ArmFollowers
from hsnn.serving.sync.arm_index import ArmIndex
from hsnn.serving.sync.follower import VERSION, WARM, MirrorFollower
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from tests.serving import challenger
from tests.waiting import wait_until


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that the followers of arms have connected to."""
    opened: list[str] = []

    def counted(url: str, **options: Any) -> object:
        opened.append(url)
        return connect(url, **options)

    monkeypatch.setattr(arm_followers, "connect", counted)
    return opened


class Both:
    """A server's own index and a challenger's, both followed."""

    def __init__(self, url: str) -> None:
        self.metrics, self.health, self.own, other = ServingMetrics(), Health(VERSION, WARM), Mirror(), Mirror()
        self.other = ArmIndex(challenger.PREFIX, self.own, other, stale_after=600.0)
        self._client = connect(url)
        self._follower = MirrorFollower(self._client, self.own, self.metrics, self.health)
        self._followers = ArmFollowers({challenger.PREFIX: self.other}, url, self.metrics)

    def start(self) -> None:
        self._follower.start()
        self._followers.start()

    def stop(self) -> None:
        self._followers.stop()
        self._follower.stop()
        self._client.close()

    def versions(self) -> tuple[float | None, ...]:
        """What the metrics say of the two versions."""
        value = self.metrics.registry.get_sample_value
        return value("hsnn_index_version"), value("hsnn_arm_index_version", {"index": challenger.PREFIX})

    def recommended(self, mirror: Mirror, user: str) -> set[str]:
        """Clusters of the items that a user gets."""
        return {item.partition("-")[0] for item in retrieve(mirror, [Request(user=user, k=5)])[0].items}


@pytest.fixture
def both(redis_server: str) -> Iterator[Both]:
    both = Both(redis_server)
    yield both
    both.stop()


@pytest.mark.slow
def test_two_indexes_on_one_redis_are_followed_and_a_flip_touches_its_own_alone(
    both, connections, redis_client, plant, new_plant
):
    other, changed = challenger.fill(new_plant()), challenger.fill(new_plant())
    changed.version_number = 1
    changed.delete(changed.ids.index("c3-9"))
    first, second = challenger.write(other, redis_client, shards=2), challenger.write(changed, redis_client)
    plant.write(redis_client)
    plant.write(redis_client)
    redis_client.set(key("current"), 1)
    both.start()
    wait_until(lambda: both.health.readiness()[0])
    assert both.other.problem() == "missing"
    assert both.versions() == (1, 0), "the server is ready when its own index is"
    challenger.flip(redis_client, first)
    wait_until(lambda: not both.other.problem())
    assert both.versions() == (1, first)
    assert (both.recommended(both.own, "u0"), both.recommended(both.other.mirror, "u0")) == ({"c0"}, {"c3"})
    items = both.metrics.registry.get_sample_value
    assert items("hsnn_arm_index_items", {"index": challenger.PREFIX}) == items("hsnn_index_items") == 60
    challenger.flip(redis_client, second)
    wait_until(lambda: both.versions() == (1, second))
    assert items("hsnn_arm_index_items", {"index": challenger.PREFIX}) == 59
    assert (items("hsnn_index_items"), both.own.version) == (60, 1)
    redis_client.set(key("current"), 2)
    wait_until(lambda: both.versions() == (2, second))
    assert both.other.mirror.version == second


def test_without_another_index_nothing_is_opened(connections, redis_server):
    followers = ArmFollowers({}, redis_server, ServingMetrics())
    followers.start()
    followers.stop()
    assert not connections
    ArmFollowers(
        {"other": ArmIndex("other", Mirror(), Mirror(), stale_after=1.0)}, redis_server, ServingMetrics()
    ).stop()
    assert connections == [redis_server], "and one connection for another"
