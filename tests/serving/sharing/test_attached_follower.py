from __future__ import annotations

from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sharing.arena import Arena
from hsnn.serving.sharing.attached_follower import AttachedFollower
from hsnn.serving.sharing.mirrors import AttachedMirror, PublishingMirror
from hsnn.serving.sharing.places import SharedPlaces
from hsnn.serving.sync.follower import LOOP, VERSION, WARM
from tests.waiting import wait_until


def test_it_is_ready_once_a_version_was_seen_and_shows_what_the_mirror_holds(plant, tmp_path):
    places = SharedPlaces(2, Arena(1 << 28), tmp_path)
    written, attached = PublishingMirror(places), AttachedMirror(places, 1)
    metrics, health = ServingMetrics(), Health(VERSION, WARM)
    health.expect(LOOP, within=60)
    follower = AttachedFollower(attached, metrics, health)
    follower.start()
    try:
        assert not health.readiness()[0]
        plant.load(written)
        wait_until(lambda: health.readiness()[0])
        value = metrics.registry.get_sample_value
        assert (value("hsnn_index_version"), value("hsnn_index_items")) == (1, written.state.corpus)
        written.apply_deltas([plant.add("late", 0)])
        wait_until(lambda: value("hsnn_index_items") == written.state.corpus)
        assert health.liveness()[0]
    finally:
        follower.stop()
    assert not follower.is_alive()
