"""The online loop end to end, on a real server: nothing lost, nothing doubled, the same bits after any restart."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import RollbackError
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import GateConfig, MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.entry import stream_key
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.trainer.checkpoint import atomic_file
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.messages import Feed, Snapshot, StateDelta
from hsnn.trainer.online.loop import OnlineLoop

pytestmark = pytest.mark.slow

EVENTS, BAD, BATCH = 1024, 5, 64
STREAMING = StreamingConfig(batch_size=BATCH, partitions=2, max_wait=0.05)


class KilledError(Exception):
    """The process is gone."""


@pytest.fixture
def log(redis_server, redis_client):
    log = RedisLog(redis_server)
    yield log
    log.close()


@pytest.fixture
def filled(log, new_world):
    """A log of planted clicks, some records that are no events, and the items' announcements."""
    world = new_world()
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 2, compacted=topic in ("items", "users"))
    number = 0
    for _ in range(EVENTS // BATCH):
        batch = world.batch(BATCH)
        log.append("items", [ProducerRecord(item.id.encode(), encode(item)) for item in batch.items])
        events = batch.engagements
        for user, item, ts in zip(events.user, events.item, events.ts.tolist(), strict=True):
            event = Interaction(id=f"e{number}", ts=ts, user=user, item=item, action="click", context={"hour": ts % 24})
            log.append("engagements", [ProducerRecord(user.encode(), encode(event))])
            number += 1
        if number % 192 == 0 and number // 192 <= BAD:
            log.append("engagements", [ProducerRecord(b"u1", b"{broken")])
    log.flush()
    return log


@pytest.fixture
def new_loop(config, redis_client, redis_server, tmp_path) -> Iterator[Callable[..., OnlineLoop]]:
    """``new_loop(folder=..., **changes of TrainerConfig)``: a trainer, as its process would make it."""

    logs = []

    def make(
        folder: str = "one",
        streaming: StreamingConfig = STREAMING,
        monitoring: MonitoringConfig = MonitoringConfig(),  # noqa: B008 - it is frozen
        **changes,
    ) -> OnlineLoop:
        settings = {"checkpoint_dir": tmp_path / folder, "snapshot_interval": 1e9, "flush_interval": 0.0} | changes
        trainer: TrainerConfig = config.model_copy(update=settings)
        logs.append(RedisLog(redis_server))
        return OnlineLoop(trainer, streaming, monitoring, logs[-1], redis_client, "digest")

    yield make
    for log in logs:
        log.close()


def until(loop: OnlineLoop, events: int, then: type[Exception] | None = None) -> Callable[[], bool]:
    """Stop, or die, once so many events are learned and no checkpoint is under way."""

    def stop() -> bool:
        done = loop.progress.trained >= events and not loop._publisher.busy
        if done and then is not None:
            raise then
        return done

    return stop


def settled(loop: OnlineLoop, events: int) -> Callable[[], bool]:
    """Stop once so many events are learned; every batch waits until the checkpoint of the one before is out."""

    def stop() -> bool:
        loop._publisher.wait()
        return loop.learner.events >= events

    return stop


def bits(loop: OnlineLoop) -> dict[str, bytes]:
    arrays, values = loop.learner.state_dict()
    found = {name: array.tobytes() for name, array in arrays.items()} | {"values": repr(values).encode()}
    return found | {
        "drift": repr(loop._drift.state_dict()).encode(),
        "counts": repr(loop.progress.state_dict()).encode(),
    }


@pytest.fixture
def undisturbed(filled, new_loop) -> OnlineLoop:
    loop = new_loop("undisturbed")
    loop.run(until(loop, EVENTS))
    return loop


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
        manifest = Snapshot.decode(redis_client.hgetall(key("snapshot", number))).manifest
        assert (folder / manifest.checkpoint / "manifest.json").exists()
        assert manifest.epoch == 1
        assert manifest.config_digest == "digest"
    assert manifest.events == EVENTS
    assert manifest.state_id == redis_client.xrevrange(key("state"), count=1)[0][0].decode()
    assert manifest.feed_id == redis_client.xrevrange(key("feed"), count=1)[0][0].decode()


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
    manifest = Snapshot.decode(redis_client.hgetall(key("snapshot", number))).manifest
    assert (manifest.epoch, manifest.events, manifest.state_id) == (2, EVENTS, "0-0")


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
    monkeypatch.setattr(loop._drift, "update", lambda prepared, report: next(raised, []))
    loop.run(until(loop, EVENTS))
    _, fields = redis_client.xrange(key("alarms"))[0]
    manifest = Snapshot.decode(redis_client.hgetall(key("snapshot", int(fields[b"snapshot"])))).manifest
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
    assert Snapshot.decode(announced).manifest.events < 768 == manifests[-1].events
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
    assert Snapshot.decode(redis_client.hgetall(key("snapshot", number))).manifest.events >= 960


def test_a_model_of_another_shape_is_refused_in_words(undisturbed, new_loop, config, tmp_path):
    model = config.model.model_copy(update={"nodes": 99, "dim": 4, "beam": 3})
    with pytest.raises(
        CheckpointError, match=r"checkpoint-0+2 in .*undisturbed has a model of another shape.*dim.*nodes"
    ):
        new_loop("undisturbed", model=model)


def test_beam_and_budget_may_change(undisturbed, new_loop, config):
    again = new_loop("undisturbed", model=config.model.model_copy(update={"beam": 3, "budget": 7}))
    assert again.learner.events == EVENTS


def test_a_step_that_is_not_finite_is_dropped_and_said_so(filled, new_loop, redis_client, caplog):
    loop = new_loop("unsafe")
    loop.learner.network.items.content.weight[:] = np.nan
    with caplog.at_level(logging.ERROR):
        loop.run(lambda: loop.progress.dropped.total() >= 3 * BATCH)
    assert json.loads(redis_client.hget(key("progress"), "dropped")) == {"unsafe_step": 3 * BATCH}
    assert loop.progress.trained == 0
    assert "its loss is not finite" in caplog.text


@pytest.mark.parametrize("ends", [False, True])
def test_a_full_disk_costs_checkpoints_and_nothing_else(
    undisturbed, new_loop, monkeypatch, redis_client, tmp_path, ends
):
    """The disk is full from the first checkpoint on; where it does not end, there is room again after 500 events."""
    loop = new_loop("full", snapshot_interval=0.0)
    full, seen, file_write = [True], [], atomic_file.write_new

    def write_new(path: Path, pieces):
        if full and path.name == "manifest.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return file_write(path, pieces)

    monkeypatch.setattr("hsnn.trainer.checkpoint.store.write_new", write_new)

    def stop() -> bool:
        if loop.progress.trained >= 500 and full and not ends:
            seen.append((loop._health.readiness(), [path.name for path in (tmp_path / "full").iterdir()]))
            full.clear()
        return loop.progress.trained >= EVENTS and (ends or not loop._publisher.busy)

    snapshots = redis_client.xlen(key("snapshots"))
    if ends:
        with pytest.raises(CheckpointError, match="is learned again at the next start"):
            loop.run(stop)
        assert redis_client.xlen(key("snapshots")) == snapshots  # only what is durable is published
        assert list((tmp_path / "full").iterdir()) == []
        return
    loop.run(stop)
    (ready, detail), files = seen[0]
    assert not ready
    assert "No space left on device; make room there" in detail["problems"]["checkpoints"]
    assert len(files) <= 1  # at most the one that is being written
    assert loop._health.readiness()[0]
    assert bits(loop) == bits(undisturbed)
    assert new_loop("full").learner.events == EVENTS


def test_a_poll_that_does_not_return_makes_the_trainer_not_live(filled, new_loop):
    """Ten seconds pass in every turn; the main thread goes round, but the one that reads ahead hangs."""
    loop, now, live = new_loop("hangs"), [0.0], []
    loop._health = Health("trainer", clock=lambda: now[0])
    loop._health.expect("poll", within=30)
    loop.consumer.poll_seconds = lambda: max(0.0, now[0] - 50.0)

    def stop() -> bool:
        now[0] += 10.0
        live.append(loop._health.liveness()[0])
        return len(live) == 14

    loop.run(stop)
    assert live[:8] == [True] * 8
    assert live[-1] is False


@pytest.mark.parametrize("broken", [False, True])
def test_a_trainer_that_learns_nothing_of_what_waits_is_not_live(filled, new_loop, broken):
    """Four seconds pass in every turn; what is polled and left out is no progress, an empty log is no stall."""
    loop, now, live = new_loop("watched"), [0.0], []
    loop._health = Health("trainer", clock=lambda: now[0])
    loop._health.expect("learning", within=10, reason="none is learned")
    if broken:
        loop.learner.network.items.content.weight[:] = np.nan

    def stop() -> bool:
        now[0] += 4
        live.append(loop._health.liveness()[0])
        return len(live) > EVENTS // BATCH + 10 or not live[-1]

    loop.run(stop)
    assert live == ([True, True, False] if broken else [True] * len(live))
    if broken:
        assert loop._health.liveness()[1]["learning"]["reason"] == "none is learned"
    else:
        assert loop.consumer.lag() == (0, 0.0)


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


LIMITED = {
    "ids": IdsConfig(
        items=IdLimits(cap=100, expire_after=10.0), users=IdLimits(cap=30, admit_after=2), reuse_after=2 * BATCH
    ),
    "expire_after_idle": 60.0,
    "index": IndexConfig(seed_after=128),
}


def taken(loop: OnlineLoop) -> int:
    return loop.progress.trained + loop.progress.dropped.total()


def test_within_an_epoch_a_row_means_one_item_and_readers_are_told_of_the_next(filled, new_loop, redis_client):
    loop = new_loop("limited", **LIMITED)
    loop.run(lambda: taken(loop) >= EVENTS)
    assert taken(loop) == EVENTS
    assert loop.progress.dropped.total() < EVENTS / 3
    turns, meant = loop.learner.recycled, {}
    assert loop._writer.epoch == 1 + turns
    for _, fields in redis_client.xrange(key("feed")):
        feed = Feed.decode(fields[b"d"])
        for item in feed.items:
            assert meant.setdefault((feed.epoch, item.row), item.id) == item.id
    epochs = []
    for _, fields in redis_client.xrange(key("snapshots")):
        snapshot = Snapshot.decode(redis_client.hgetall(key("snapshot", int(fields[b"n"]))))
        epochs.append(snapshot.manifest.epoch)
        for row, name in enumerate(snapshot.item_ids):
            assert not name or meant.setdefault((epochs[-1], row), name) == name
    told = [StateDelta.decode(fields[b"d"]).epoch for _, fields in redis_client.xrange(key("state"))]
    assert sorted(told) == told
    assert epochs == sorted(epochs)
    assert turns >= 6, "rows are reused though all events find none for a while"
    assert {*epochs} >= {*range(turns - 3, 2 + turns)}, "each new epoch has a snapshot at once, of which some are kept"
    rows = {row for _, row in meant}
    assert len({*meant.values()}) > len(rows), "rows were reused"


def test_a_version_from_before_a_reuse_is_not_rolled_back_to(filled, new_loop, redis_client):
    loop = new_loop("limited", **LIMITED)
    loop.run(lambda: taken(loop) >= EVENTS)
    lease = Lease(redis_client, ttl=30, owner="test")
    assert lease.acquire()
    store = IndexStore(redis_client, lease)
    leader = Leader(store, Builder(store))
    numbers = [int(fields[b"n"]) for _, fields in redis_client.xrange(key("snapshots"))]
    for number in numbers:
        leader.publish(number, "test")
        report = verify(store, store.current())
        assert not report.missing + report.extra + report.misplaced
    before, after = store.manifest(store.versions()[0]), store.manifest(store.current())
    assert before.epoch < after.epoch
    with pytest.raises(RollbackError, match="their rows mean different items"):
        store.rollback(before.version)
    assert store.current() == after.version
    assert {*store.item_nodes(after.version)} == alive_of(loop)


def alive_of(loop: OnlineLoop) -> set[str]:
    learner = loop.learner
    rows = np.flatnonzero(learner.alive(np.arange(len(learner.items))))
    return {learner.items.table.ids[row] for row in rows.tolist()}


def test_killed_while_rows_change_hands_and_resumed_is_bit_for_bit_the_undisturbed_run(filled, new_loop):
    whole = new_loop("whole", **LIMITED)
    whole.run(lambda: taken(whole) >= EVENTS)
    for death in (300, 700):
        loop = new_loop("killed", snapshot_interval=0.02, **LIMITED)

        def die(loop=loop, death=death) -> bool:
            if taken(loop) >= death and not loop._publisher.busy:
                raise KilledError
            return False

        with pytest.raises(KilledError):
            loop.run(die)
    last = new_loop("killed", **LIMITED)
    assert last.learner.events > 0
    last.run(lambda: taken(last) >= EVENTS)
    assert bits(last) == bits(whole)
