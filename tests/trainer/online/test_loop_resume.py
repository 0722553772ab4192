"""A trainer that was stopped or killed goes on from its checkpoint: the same bits as without, in words if it cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.entry import stream_key
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.snapshot_chunks import read_snapshot
from tests.trainer.online.loops import BAD, BATCH, EVENTS, KilledError, bits, until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stop", [BATCH, 650])
def test_stopped_and_started_again(undisturbed, new_loop, redis_client, stop):
    first = new_loop("stopped")
    first.run(until(first, stop))
    learned = first.learner.events
    assert stop <= learned < EVENTS
    second = new_loop("stopped")
    assert second.learner.events == learned
    second.run(until(second, EVENTS))
    assert bits(second) == bits(undisturbed)
    assert (second.progress.trained, second.progress.dead_lettered) == (EVENTS, BAD)
    assert second._writer.epoch == first._writer.epoch + 1 == 3


@pytest.mark.parametrize("deaths", [(200,), (600, 800)])
def test_killed_anywhere_and_resumed_is_bit_for_bit_the_undisturbed_run(undisturbed, new_loop, deaths):
    """What was learned after the last checkpoint is learned again."""
    for death in deaths:
        loop = new_loop("killed", snapshot_interval=0.02)
        with pytest.raises(KilledError):
            loop.run(until(loop, death, then=KilledError))
        ahead = loop.learner.events
    last = new_loop("killed")
    assert last.learner.events <= ahead
    assert deaths == (200,) or last.learner.events > 0
    last.run(until(last, EVENTS))
    assert bits(last) == bits(undisturbed)


ADDED = 64


def adding_a_partition(
    redis_server: str, redis_client, loop: OnlineLoop, then: Callable[[], bool]
) -> Callable[[], bool]:
    """Add a partition with `ADDED` clicks after 500 events, as an operator would; stop, or die, as `then` does."""
    added = []

    def stop() -> bool:
        if loop.progress.trained >= 500 and not added:
            added.append(redis_client.hset("hsnn:log:topics", "engagements", 3))
            clicks = [
                Interaction(id=f"a{n}", ts=1_700_000_000_000 + n, user=f"u{n % 7}", item="c1-1", action="click")
                for n in range(ADDED)
            ]
            log = RedisLog(redis_server)  # a producer that was started afterwards
            log.append("engagements", [ProducerRecord(b"u", encode(click), partition=2) for click in clicks])
            log.close()
        return bool(added) and then()

    return stop


def test_partitions_added_at_run_time_are_joined_where_the_checkpoint_says(
    filled, new_loop, redis_server, redis_client, monkeypatch, caplog
):
    monkeypatch.setattr("hsnn.trainer.online.loop._PARTITIONS_SECONDS", 0.0)
    undisturbed = new_loop("undisturbed")
    undisturbed.run(adding_a_partition(redis_server, redis_client, undisturbed, until(undisturbed, EVENTS + ADDED)))
    assert "partitions were added and are read from here on: engagements/2" in caplog.text
    assert undisturbed.progress.trained == EVENTS + ADDED
    assert undisturbed.consumer.lag()[0] == 0

    redis_client.hset("hsnn:log:topics", "engagements", 2)
    redis_client.delete(stream_key("engagements", 2))
    killed = new_loop("killed")
    with pytest.raises(KilledError):
        killed.run(adding_a_partition(redis_server, redis_client, killed, until(killed, 800, then=KilledError)))
    last = new_loop("killed")
    assert 500 <= last.learner.events < 800
    last.run(until(last, EVENTS + ADDED))
    assert bits(last) == bits(undisturbed)
    assert last.consumer.state_dict()["places"] == undisturbed.consumer.state_dict()["places"]


def test_a_damaged_checkpoint_costs_time_only(undisturbed, new_loop, tmp_path, caplog):
    first = new_loop("damaged")
    first.run(until(first, 600))
    newest = sorted((tmp_path / "damaged").iterdir())[-1]
    blob = (newest / "arrays.safetensors").read_bytes()
    (newest / "arrays.safetensors").write_bytes(blob[: len(blob) // 2])
    with caplog.at_level(logging.ERROR):
        second = new_loop("damaged")
    assert "going back to the one before" in caplog.text
    assert second.learner.events < first.learner.events
    second.run(until(second, EVENTS))
    assert bits(second) == bits(undisturbed)


def test_a_restart_publishes_what_it_loaded_under_its_own_epoch(undisturbed, new_loop, redis_client):
    again = new_loop("undisturbed")
    again.run(lambda: True)
    number = int(redis_client.xrevrange(key("snapshots"), count=1)[0][1][b"n"])
    manifest = read_snapshot(redis_client, redis_client.hgetall(key("snapshot", number))).manifest
    assert (manifest.epoch, manifest.events, manifest.state_id) == (2, EVENTS, "0-0")


def test_a_model_of_another_shape_is_refused_in_words(undisturbed, new_loop, config, tmp_path):
    model = config.model.model_copy(update={"nodes": 99, "dim": 4, "beam": 3})
    with pytest.raises(
        CheckpointError, match=r"checkpoint-0+2 in .*undisturbed has a model of another shape.*dim.*nodes"
    ):
        new_loop("undisturbed", model=model)


def test_beam_and_budget_may_change(undisturbed, new_loop, config):
    again = new_loop("undisturbed", model=config.model.model_copy(update={"beam": 3, "budget": 7}))
    assert again.learner.events == EVENTS
