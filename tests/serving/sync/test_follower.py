from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import hsnn.serving.sync.follower
from hsnn.embedded import EmbeddedRedis
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.sync.follower import LOOP, VERSION, WARM, MirrorFollower
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.redis.keys import key
from tests.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow


class Publisher:
    """Writes a plant's versions, deltas and states as trainer and scheduler do."""

    def __init__(self, redis: Redis, plant) -> None:
        self.redis, self.plant, self.number, self.state_id = redis, plant, 0, "0-0"

    def state(self) -> None:
        self.state_id = self.redis.xadd(key("state"), {b"d": self.plant.state().encode()}).decode()

    def delta(self, delta: Delta, number: int | None = None) -> None:
        self.redis.xadd(key("deltas", number or self.number), {b"d": delta.encode()})

    def aside(self) -> int:
        return self.plant.write(self.redis, self.state_id)

    def flip(self, number: int) -> None:
        if self.number:
            self.delta(Delta("superseded", version=number))
        self.redis.set(key("current"), number)
        self.redis.zadd(key("versions"), {str(number): number})
        self.number = number

    def publish(self) -> None:
        self.flip(self.aside())

    def announce(self, number: int) -> None:
        self.redis.xadd(key("announced"), {b"n": number})


class Following:
    """A running follower with its mirror, metrics and health."""

    def __init__(self, redis: Redis) -> None:
        self.mirror, self.metrics, self.health = Mirror(), ServingMetrics(), Health(VERSION, WARM)
        self.health.expect(LOOP, within=DEADLINE)
        self.follower = MirrorFollower(redis, self.mirror, self.metrics, self.health)
        self.follower.start()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def retrievable(self, item: str) -> bool:
        request = Request(user="nobody", mode="exhaustive", filters=Filters(items=[item]))
        return self.mirror.loaded and retrieve(self.mirror, [request])[0].items == [item]


@pytest.fixture
def publisher(redis_client, plant) -> Publisher:
    return Publisher(redis_client, plant)


@pytest.fixture
def following(redis_client) -> Iterator[Following]:
    following = Following(redis_client)
    yield following
    following.follower.stop()
    assert not following.follower.is_alive()


def test_waits_for_the_first_version_and_becomes_ready(publisher, following):
    time.sleep(0.3)
    assert following.health.liveness()[0]
    assert not following.health.readiness()[0]
    publisher.publish()
    wait_until(lambda: following.health.readiness()[0])
    assert following.mirror.version == 1
    assert following.value("hsnn_index_version") == 1


def test_a_warm_up_that_takes_long_is_live_and_not_ready(publisher, redis_client, monkeypatch):
    begun, done = threading.Event(), threading.Event()

    def compile_for_long(mirror):
        begun.set()
        assert done.wait(DEADLINE)

    monkeypatch.setattr(hsnn.serving.sync.follower, "warm_up", compile_for_long)
    publisher.publish()
    following = Following(redis_client)
    try:
        assert begun.wait(DEADLINE)
        following.health.expect(LOOP, within=0)
        assert following.health.liveness()[0]
        assert not following.health.readiness()[0]
        following.health.expect(LOOP, within=60)
        done.set()
        wait_until(lambda: following.health.readiness()[0])
        assert "waits" not in following.health.liveness()[1]
    finally:
        done.set()
        following.follower.stop()


def test_deltas_and_states_arrive_and_how_fresh_they_are_is_measured(publisher, following, plant):
    publisher.publish()
    wait_until(lambda: following.health.readiness()[0])
    delta = plant.add("newcomer", 2)
    sent = Delta.decode(delta.encode())
    publisher.state()
    publisher.delta(_sent_now(sent))
    wait_until(lambda: following.retrievable("newcomer"))
    assert following.value("hsnn_freshness_seconds_count") == 1
    assert 0 < following.value("hsnn_freshness_seconds_sum") < DEADLINE
    assert following.follower.freshness["newcomer"] < DEADLINE
    publisher.delta(plant.delete(plant.ids.index("newcomer")))
    wait_until(lambda: not following.retrievable("newcomer"))


def test_the_index_share_is_that_of_the_last_state_delta(publisher, following, plant):
    publisher.publish()
    wait_until(lambda: following.value("hsnn_index_share") == 1)
    plant.index_share = 0.22
    publisher.state()
    wait_until(lambda: following.value("hsnn_index_share") == 0.22)


def test_what_came_after_the_base_is_caught_up_on(publisher, redis_client, plant):
    publisher.publish()
    publisher.delta(_sent_now(plant.add("after", 1)))
    plant.engage("late", "c0-0", after=1_000)
    publisher.state()
    following = Following(redis_client)
    try:
        wait_until(lambda: following.health.readiness()[0])
        assert following.retrievable("after")
        assert following.mirror.watermark == plant.now
        assert following.value("hsnn_freshness_seconds_count") == 0  # nobody could wait for it here
    finally:
        following.follower.stop()


def test_follows_a_flip_to_the_next_version_and_its_deltas(publisher, following, plant):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    number = publisher.aside()
    for_both = _sent_now(plant.add("between", 3))
    plant.engage("x", "between")
    publisher.state()
    publisher.delta(for_both)
    publisher.delta(for_both, number)
    publisher.flip(number)
    wait_until(lambda: following.mirror.version == 2)
    assert following.retrievable("between")
    assert following.value("hsnn_mirror_loads_total", extent="index") == 1
    assert following.value("hsnn_freshness_seconds_count") == 1
    publisher.delta(plant.delete(0))
    wait_until(lambda: not following.retrievable("c0-0"))


def loaded(monkeypatch) -> list[tuple[str, int]]:
    """Record which thread loads which version."""
    found, load = [], IndexReader.load_version

    def noted(self, number, **options):
        found.append((threading.current_thread().name, number))
        return load(self, number, **options)

    monkeypatch.setattr(IndexReader, "load_version", noted)
    return found


def test_an_announced_version_is_loaded_before_the_flip(publisher, following, plant, monkeypatch):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    who = loaded(monkeypatch)
    number = publisher.aside()
    publisher.announce(number)
    wait_until(lambda: who == [("preload", 2)])
    between = _sent_now(plant.add("between", 3))
    publisher.state()
    publisher.delta(between, number)
    publisher.flip(number)
    wait_until(lambda: following.mirror.version == 2)
    assert following.retrievable("between"), "deltas come on top of what was loaded before them"
    assert who == [("preload", 2)], "only once"
    publisher.publish()
    wait_until(lambda: following.mirror.version == 3)
    assert who[1:] == [(LOOP, 3)], "who was not told loads it at the flip"


def test_an_announcement_that_comes_to_nothing_does_no_harm(publisher, following, monkeypatch):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    who = loaded(monkeypatch)
    publisher.announce(77)
    wait_until(lambda: ("preload", 77) in who)
    publisher.publish()
    wait_until(lambda: following.mirror.version == 2)
    assert who == [("preload", 77), (LOOP, 2)]


def test_what_was_loaded_of_another_server_is_not_used(publisher, following, plant, monkeypatch, redis_client):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    who = loaded(monkeypatch)
    publisher.announce(publisher.aside())
    wait_until(lambda: who == [("preload", 2)])
    monkeypatch.setattr(hsnn.serving.sync.follower, "identity", lambda redis: "another one")
    wait_until(lambda: (LOOP, 1) in who)
    publisher.flip(2)
    wait_until(lambda: following.mirror.version == 2)
    assert who[-1] == (LOOP, 2)


def test_a_damaged_leaf_is_counted(publisher, following, redis_client):
    before = following.value("hsnn_leaves_damaged_total")
    number = publisher.aside()
    redis_client.setbit(key("leaf", number, 0), 40, 1 - redis_client.getbit(key("leaf", number, 0), 40))
    publisher.flip(number)
    wait_until(lambda: following.health.readiness()[0])
    assert following.value("hsnn_leaves_damaged_total") == before + 1


def test_follows_a_rollback(publisher, following):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    publisher.publish()
    wait_until(lambda: following.mirror.version == 2)
    publisher.flip(1)
    wait_until(lambda: following.mirror.version == 1)
    publisher.delta(publisher.plant.delete(3))
    wait_until(lambda: not following.retrievable("c0-3"))


def test_a_restarted_trainer_brings_an_epoch_of_its_own(publisher, following, plant):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    plant.epoch = 2
    plant.engage("x", "c5-5")
    publisher.state()
    publisher.publish()
    plant.engage("x", "c5-6")
    publisher.state()
    wait_until(lambda: following.mirror.epoch == 2 and following.mirror.watermark == plant.now)
    assert following.value("hsnn_mirror_loads_total", extent="everything") == 2


def test_unreadable_entries_are_counted_and_passed_over(publisher, following, redis_client, plant):
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)
    for stream in (key("state"), key("deltas", 1)):
        redis_client.xadd(stream, {b"d": b"\xc1 nonsense"})
        redis_client.xadd(stream, {b"x": b"no field d"})
    publisher.delta(plant.delete(0))
    wait_until(lambda: not following.retrievable("c0-0"))
    wait_until(lambda: following.value("hsnn_mirror_unreadable_total") == 4)


def test_a_version_that_is_gone_is_waited_for(publisher, following, redis_client):
    redis_client.set(key("current"), 1)
    time.sleep(0.3)
    assert not following.mirror.loaded
    publisher.publish()
    wait_until(lambda: following.mirror.version == 1)


def test_survives_a_redis_that_restarts_empty_and_reloads(plant, new_plant):
    server = EmbeddedRedis().start()
    publisher = Publisher(connect(server.url), plant)
    publisher.publish()
    following = Following(connect(server.url))
    again = None
    try:
        wait_until(lambda: following.health.readiness()[0])
        server.stop()
        time.sleep(1)
        assert len(retrieve(following.mirror, [Request(user="u0", k=5)])[0].items) == 5  # answers go on
        again = EmbeddedRedis(server.port).start()
        other = new_plant()  # same epoch, same version number, other rows
        other.add("rebuilt", 0)
        Publisher(connect(again.url), other).publish()
        wait_until(lambda: following.retrievable("rebuilt"))
        assert not following.retrievable("c0-5")
    finally:
        following.follower.stop()
        server.stop()
        if again is not None:
            again.stop()


def _sent_now(delta: Delta) -> Delta:
    return Delta(
        **{name: getattr(delta, name) for name in delta.__struct_fields__} | {"sent_at": int(time.time() * 1000)}
    )
