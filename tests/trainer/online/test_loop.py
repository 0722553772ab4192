"""The online loop end to end, on a real server: nothing lost, nothing doubled, everything published."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import GateConfig, MonitoringConfig
from hsnn.streaming.redis.keys import key
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.messages import Feed, StateDelta
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.snapshot_chunks import read_snapshot
from tests.trainer.online.loops import BAD, BATCH, EVENTS, STREAMING, settled, until

pytestmark = pytest.mark.slow


def test_every_event_is_learned_or_accounted_for(undisturbed, redis_client):
    progress = redis_client.hgetall(key("progress"))
    assert int(progress[b"trained"]) == EVENTS
    assert int(progress[b"dead_lettered"]) == BAD
    assert json.loads(progress[b"dropped"]) == {}
    assert undisturbed.consumer.lag() == (0, 0.0)
    assert int(progress[b"lag_records"]) == 0
    assert int(progress[b"watermark"]) == undisturbed.learner.watermark
    assert float(progress[b"events_per_second"]) > 0


def test_the_log_knows_how_far_the_last_checkpoint_is(undisturbed, log):
    ends = log.end_positions([(topic, p) for topic in ("engagements", "items") for p in (0, 1)])
    assert log.committed("hsnn", ends) == ends


def test_mirrors_learn_every_state_and_every_item(undisturbed, redis_client):
    states, histories, users = ItemCounters(), UserHistories(4), []
    for _, fields in redis_client.xrange(key("state")):
        delta = StateDelta.decode(fields[b"d"])
        states.set_rows(delta.item_rows, delta.item_values, delta.item_last, delta.item_first)
        histories.set_rows(delta.user_rows, delta.user_items, delta.user_times)
        assert delta.new_user_rows.tolist() == list(range(len(users), len(users) + len(delta.new_users)))
        users += delta.new_users
    learner = undisturbed.learner
    rows, people = np.arange(len(learner.items)), np.arange(len(learner.users))
    assert users == learner.users.table.ids
    assert states.values[rows].tobytes() == learner.states.values[rows].tobytes()
    assert states.last[rows].tolist() == learner.states.last[rows].tolist()
    assert histories.items[people].tolist() == learner.histories.items[people].tolist()
    told = [item for _, fields in redis_client.xrange(key("feed")) for item in Feed.decode(fields[b"d"]).items]
    assert [item.id for item in sorted(told, key=lambda item: item.row)] == learner.items.table.ids
    assert all(item.sent_at > 0 and item.tokens for item in told)


def test_snapshots_name_a_checkpoint_that_is_there(undisturbed, redis_client, tmp_path):
    folder = tmp_path / "undisturbed"
    announced = [int(fields[b"n"]) for _, fields in redis_client.xrange(key("snapshots"))]
    assert len(announced) == 2  # as soon as there were nodes, and at the end
    for number in announced:
        manifest = read_snapshot(redis_client, redis_client.hgetall(key("snapshot", number))).manifest
        assert (folder / manifest.checkpoint / "manifest.json").exists()
        assert manifest.epoch == 1
        assert manifest.config_digest == "digest"
    assert manifest.events == EVENTS
    assert manifest.state_id == redis_client.xrevrange(key("state"), count=1)[0][0].decode()
    assert manifest.feed_id == redis_client.xrevrange(key("feed"), count=1)[0][0].decode()


def test_no_checkpoint_while_there_is_nothing_to_learn(undisturbed, new_loop, redis_client):
    again, turns = new_loop("undisturbed", snapshot_interval=0.0), []
    before = len(redis_client.xrange(key("snapshots")))
    again.run(lambda: turns.append(1) or len(turns) > 4)
    assert len(redis_client.xrange(key("snapshots"))) == before + 1  # the one at the start


def test_states_and_new_items_are_held_back_until_the_server_has_answered(filled, new_loop, redis_client):
    loop, lengths = new_loop("asked"), []

    class Asker:
        measured = unmeasured = 0
        scored_share = None

        def submit(self, prepared, learner):
            self.before = redis_client.xlen(key("state")), redis_client.xlen(key("feed"))
            return prepared

        def collect(self, queries):
            lengths.append(self.before == (redis_client.xlen(key("state")), redis_client.xlen(key("feed"))))

        def recall(self):
            return {"recall_at_20": {"served": 0.5}}

        recent = recall

        def by_version(self):
            return {}

        def close(self):
            lengths.append("closed")

    loop._prequential = Asker()
    loop.run(until(loop, 400))
    assert lengths == [True] * (len(lengths) - 1) + ["closed"]
    assert len(lengths) > 5
    assert redis_client.xlen(key("state")) > 5
    assert json.loads(redis_client.hget(key("progress"), "recall")) == {"recall_at_20": {"served": 0.5}}


def test_an_alarm_is_answered_by_a_snapshot_taken_because_of_it(filled, new_loop, redis_client, monkeypatch):
    loop = new_loop("alarmed")
    alarm = Alarm(id="loss_drift:9", kind="loss_drift", ts=9, value=2.0, threshold=1.0)
    raised = iter([[]] * 14 + [[alarm]])
    monkeypatch.setattr(loop._drift, "update", lambda observation: next(raised, []))
    loop.run(until(loop, EVENTS))
    _, fields = redis_client.xrange(key("alarms"))[0]
    manifest = read_snapshot(redis_client, redis_client.hgetall(key("snapshot", int(fields[b"snapshot"])))).manifest
    assert Alarm.decode(fields[b"d"]) == alarm
    assert manifest.events == 15 * BATCH


def test_a_model_off_a_cliff_is_kept_and_not_handed_out_until_it_is_well(filled, new_loop, redis_client, tmp_path):
    """The losses are planted: bad from event 640 to event 960; in the middle of that the trainer is restarted."""
    gate = GateConfig(recent=32, usual=10_000, patience=64, warm_up=512)

    def loop_with_a_dent() -> OnlineLoop:
        loop = new_loop("held", monitoring=MonitoringConfig(gate=gate), snapshot_interval=0.0)
        train = loop.learner.train
        loop.learner.train = lambda prepared: train(prepared)._replace(
            loss=9.0 if 640 <= loop.learner.events < 960 else 3.0
        )
        return loop

    def told() -> tuple[int, str]:
        return redis_client.xlen(key("snapshots")), json.loads(redis_client.hget(key("progress"), "held"))

    first = loop_with_a_dent()
    first.run(settled(first, 768))
    count, held = told()
    assert "above the usual" in held
    manifests = [first._publisher._store.manifest(name) for name in first._publisher._store.names()]
    assert manifests[-1].held == held
    announced = redis_client.hgetall(
        key("snapshot", int(redis_client.xrevrange(key("snapshots"), count=1)[0][1][b"n"]))
    )
    assert read_snapshot(redis_client, announced).manifest.events < 768 == manifests[-1].events
    second = loop_with_a_dent()
    second.run(settled(second, 832))
    assert told()[0] == count  # not even what the restart loaded
    last = loop_with_a_dent()
    last.run(settled(last, EVENTS))
    assert told()[0] > count
    assert told()[1] == ""
    alarms = [
        (Alarm.decode(fields[b"d"]).kind, int(fields[b"snapshot"])) for _, fields in redis_client.xrange(key("alarms"))
    ]
    (cliff, none), (recovered, number) = (alarm for alarm in alarms if alarm[0].startswith("quality"))
    assert (cliff, none, recovered) == ("quality_cliff", 0, "quality_recovered")
    assert read_snapshot(redis_client, redis_client.hgetall(key("snapshot", number))).manifest.events >= 960


def test_a_step_that_is_not_finite_is_dropped_and_said_so(filled, new_loop, redis_client, caplog):
    loop = new_loop("unsafe")
    loop.learner.network.items.content.weight[:] = np.nan
    with caplog.at_level(logging.ERROR):
        loop.run(lambda: loop.progress.dropped.total() >= 3 * BATCH)
    assert json.loads(redis_client.hget(key("progress"), "dropped")) == {"unsafe_step": 3 * BATCH}
    assert loop.progress.trained == 0
    assert "its loss is not finite" in caplog.text


def test_the_last_batch_may_be_short(undisturbed, new_loop, config):
    """Other batches, other bits: but no event is lost at the end of the log."""
    loop = new_loop("odd", streaming=STREAMING.model_copy(update={"batch_size": 100}))
    loop.run(until(loop, EVENTS))
    assert loop.progress.trained == EVENTS
    assert loop.learner.steps == -(-EVENTS // 100)


def test_a_checkpoint_folder_is_made(new_loop, tmp_path, filled):
    loop = new_loop(str(Path("a") / "b"))
    loop.run(lambda: loop.progress.trained > 0)
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1
