"""No expired item is returned, even before a delta removes it from the index: the watermark is the clock."""

from __future__ import annotations

import time

import pytest

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import MODES, Filters, Request
from hsnn.serving.search.retrieval import retrieve
from tests.waiting import DEADLINE

S = 1000
EVERYTHING = RetrievalLimits(beam=6, budget=100)
WAYS = [(mode, filters) for mode in MODES for filters in (Filters(), Filters(features={"topic": ["c0"]}))]


def answered(mirror: Mirror, mode: str, filters: Filters = Filters()) -> set[str]:  # noqa: B008 - frozen
    request = Request(user="a stranger", k=100, mode=mode, filters=filters)
    return set(retrieve(mirror, [request], EVERYTHING)[0].items)


def advance_time(plant, mirror: Mirror, ms: int) -> None:
    """Advance the watermark by an engagement with an item of another cluster, without any delta of an item."""
    plant.engage("u5", "c5-0", after=ms)
    mirror.apply_state(plant.state())


@pytest.mark.parametrize(("mode", "filters"), WAYS)
def test_an_item_expires_at_its_own_time(plant, mode, filters):
    mirror = Mirror()
    plant.add("offer", 0, expires_at=plant.now + 5 * S, topic="c0")
    plant.idle_ms = None
    plant.load(mirror)
    assert "offer" in answered(mirror, mode, filters)
    advance_time(plant, mirror, 5 * S - 1)
    assert "offer" in answered(mirror, mode, filters), "its last millisecond"
    advance_time(plant, mirror, 1)
    assert "offer" not in answered(mirror, mode, filters)
    assert mirror.is_indexed("offer"), "the scheduler has not taken it out yet"


@pytest.mark.parametrize(("mode", "filters"), WAYS)
def test_an_idle_item_expires(plant, mode, filters):
    mirror = Mirror()
    plant.idle_ms = 60 * S
    plant.load(mirror)
    plant.engage("u0", "c0-0", after=30 * S)
    mirror.apply_state(plant.state())
    before = answered(mirror, mode, filters)
    assert {"c0-0", "c0-9"} <= before
    advance_time(plant, mirror, 40 * S)
    after = answered(mirror, mode, filters)
    assert "c0-0" in after, "touched 40 s ago"
    assert "c0-9" not in after
    assert mirror.is_indexed("c0-9")
    advance_time(plant, mirror, 20 * S)
    assert "c0-0" not in answered(mirror, mode, filters)


@pytest.mark.parametrize(("mode", "filters"), WAYS)
def test_a_deleted_item_stays_deleted(plant, mode, filters):
    """A deletion has no clock: it holds from the delta on that tells it, and no later state brings the item back."""
    mirror = Mirror()
    plant.load(mirror)
    assert "c0-3" in answered(mirror, mode, filters)
    mirror.apply_delta(plant.delete(3))
    plant.engage("u1", "c0-3")
    mirror.apply_state(plant.state())
    assert "c0-3" not in answered(mirror, mode, filters)


@pytest.mark.slow
def test_through_a_real_server_and_while_the_scheduler_is_away(redis_client, plant):
    """The follower alone: states go on, no delta is written; the item is gone once the watermark says so."""
    from hsnn.monitoring.health import Health
    from hsnn.serving.metrics import ServingMetrics
    from hsnn.serving.sync.follower import LOOP, VERSION, WARM, MirrorFollower
    from hsnn.streaming.redis.keys import key

    plant.idle_ms = None
    plant.add("offer", 0, expires_at=plant.now + 5 * S, topic="c0")
    state_id = redis_client.xadd(key("state"), {b"d": plant.state().encode()}).decode()
    redis_client.set(key("current"), plant.write(redis_client, state_id))
    health, mirror = Health(VERSION, WARM), Mirror()
    health.expect(LOOP, within=DEADLINE)
    follower = MirrorFollower(redis_client, mirror, ServingMetrics(), health)
    follower.start()
    try:
        deadline = time.monotonic() + DEADLINE
        while not mirror.loaded and time.monotonic() < deadline:
            time.sleep(0.01)
        assert mirror.loaded
        plant.engage("u5", "c5-0", after=5 * S)
        redis_client.xadd(key("state"), {b"d": plant.state().encode()})
        while mirror.watermark < plant.now and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "offer" not in answered(mirror, "exhaustive")
    finally:
        follower.stop()
