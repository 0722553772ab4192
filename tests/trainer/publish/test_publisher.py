"""Checkpoint first: what is not durable is neither announced nor committed."""

from __future__ import annotations

import threading

import pytest

from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.keys import key
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.messages import Feed, StateDelta
from hsnn.trainer.publish.publisher import Publisher
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.snapshot_chunks import read_snapshot
from hsnn.trainer.training.learner import Learner
from tests.waiting import DEADLINE

ALARM = Alarm(id="loss_drift:1", kind="loss_drift", ts=1, value=2.0, threshold=1.0)


class Slow(CheckpointStore):
    """Writes when it is let; keeps a diary."""

    def __init__(self, folder, diary) -> None:
        super().__init__(folder, 3)
        self.may, self.diary = threading.Event(), diary
        self.fail = False

    def write(self, arrays, values, rows=None, **manifest) -> str:
        assert self.may.wait(DEADLINE)
        if self.fail:
            raise OSError("disk full")
        name = super().write(arrays, values, rows, **manifest)
        self.diary.append(f"durable {name}")
        return name


@pytest.fixture
def diary() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, diary) -> Slow:
    return Slow(tmp_path, diary)


@pytest.fixture
def writer(redis_client, diary) -> RedisWriter:
    writer = RedisWriter(redis_client)
    announce = writer.write_snapshot
    writer.write_snapshot = lambda snapshot: (
        diary.append(f"announced {snapshot.manifest.checkpoint}"),
        announce(snapshot),
    )
    return writer


@pytest.fixture
def publisher(store, writer):
    publisher = Publisher(store, writer, "digest")
    yield publisher
    store.may.set()
    store.fail = False
    publisher._pool.shutdown()


def test_durable_then_announced_then_committed(publisher, store, writer, diary, taught, redis_client):
    learner, _ = taught
    publisher.begin_checkpoint(
        learner, {"more": 1}, lambda: diary.append(f"committed by {threading.current_thread().name}"), [ALARM]
    )
    publisher.advance()
    assert publisher.busy
    assert diary == []
    assert redis_client.xlen(key("snapshots")) == 0
    store.may.set()
    publisher.wait()
    name = store.names()[0]
    assert diary == [f"durable {name}", f"announced {name}", "committed by MainThread"]
    assert not publisher.busy
    number = int(redis_client.xrange(key("snapshots"))[0][1][b"n"])
    snapshot = read_snapshot(redis_client, redis_client.hgetall(key("snapshot", number)))
    assert (snapshot.manifest.checkpoint, snapshot.manifest.epoch) == (name, writer.epoch)
    assert (snapshot.manifest.snapshot, snapshot.manifest.config_digest) == (number, "digest")
    checkpoint = store.newest()
    assert checkpoint.values["more"] == 1
    assert checkpoint.manifest.events == learner.events
    fields = redis_client.xrange(key("alarms"))[0][1]
    assert (Alarm.decode(fields[b"d"]), int(fields[b"snapshot"])) == (ALARM, number)


def test_a_checkpoint_that_fails_commits_and_announces_nothing_and_keeps_its_alarms(
    publisher, store, diary, taught, redis_client
):
    store.fail = True
    store.may.set()
    publisher.begin_checkpoint(taught[0], {}, lambda: diary.append("committed"), [ALARM])
    publisher.wait()
    assert diary == []
    assert publisher.take_failed() == [ALARM]
    assert publisher.take_failed() is None
    assert redis_client.exists(key("snapshots"), key("alarms")) == 0


@pytest.mark.slow
def test_a_checkpoint_holds_the_moment_it_was_taken(publisher, store, config, world, teach, redis_client):
    learner = Learner(config)
    teach(learner, world, 12)
    arrays, values = learner.state_dict()
    publisher.begin_checkpoint(learner, {}, lambda: None, [])
    teach(learner, world, 3)
    store.may.set()
    publisher.wait()
    checkpoint = store.newest()
    assert checkpoint.manifest.events == values["events"] < learner.events
    assert all(checkpoint.arrays[name].tobytes() == arrays[name].tobytes() for name in arrays)
    again = Learner.from_state_dict(config, checkpoint.arrays, checkpoint.values["learner"])
    assert all(array.tobytes() == arrays[name].tobytes() for name, array in again.state_dict()[0].items())


def test_a_model_without_nodes_is_kept_but_not_announced(publisher, store, config, world, teach, diary, redis_client):
    learner = Learner(config)
    teach(learner, world, 1)
    store.may.set()
    publisher.begin_checkpoint(learner, {}, lambda: diary.append("committed"), [ALARM])
    publisher.wait()
    assert [line.split()[0] for line in diary] == ["durable", "committed"]
    assert redis_client.xlen(key("snapshots")) == 0
    assert redis_client.xrange(key("alarms"))[0][1][b"snapshot"] == b"0"


def test_one_at_a_time(publisher, store, taught, diary):
    store.may.set()
    for number in range(3):
        publisher.begin_checkpoint(taught[0], {}, lambda number=number: diary.append(f"committed {number}"), [])
    publisher.close()
    assert [line for line in diary if line.startswith("committed")] == [f"committed {number}" for number in range(3)]
    assert [line.split()[0] for line in diary] == ["durable", "announced", "committed"] * 3


def test_an_outbox_is_an_incarnation(redis_client, config, world):
    first = RedisWriter(redis_client)
    assert first.next_snapshot() == 1
    second = RedisWriter(redis_client)
    assert second.epoch == first.epoch + 1
    assert [second.next_snapshot(), second.next_snapshot()] == [2, 3]
    learner = Learner(config)
    prepared = learner.prepare(world.clicks(["u"], ["a"]))
    learner.train(prepared)
    second.write_feed([])
    assert redis_client.exists(key("feed")) == 0
    second.write_feed(prepared.feed)
    second.write_state_delta(learner.delta(second.epoch))
    feed_id, fields = redis_client.xrange(key("feed"))[0]
    assert second.feed_id == feed_id.decode()
    assert Feed.decode(fields[b"d"]) == Feed(second.epoch, prepared.feed)
    state_id, fields = redis_client.xrange(key("state"))[0]
    assert second.state_id == state_id.decode()
    assert StateDelta.decode(fields[b"d"]).epoch == second.epoch
    second.write_progress({"trained": 3, "dropped": {"a": 1}, "loss": 0.5})
    assert redis_client.hgetall(key("progress")) == {
        b"epoch": str(second.epoch).encode(),
        b"trained": b"3",
        b"dropped": b'{"a": 1}',
        b"loss": b"0.5",
        b"arrived_at": b"0",  # no event has arrived from a log
    }


@pytest.mark.slow
def test_copies_are_made_between_steps_and_before_them(store, writer, config, world, teach, redis_client, monkeypatch):
    """However slowly a moment is copied, the checkpoint is that moment; what training waited for is told."""
    monkeypatch.setattr("hsnn.trainer.rowstore.copy_on_write._SLICE", 1)
    pauses: list[float] = []
    publisher = Publisher(store, writer, "digest", on_pause=pauses.append)
    model = config.model.model_copy(update={"pair_features": False})  # whose lists change with every event
    learner = Learner(config.model_copy(update={"model": model}))
    teach(learner, world, 12)
    store.may.set()
    for _ in range(2):
        arrays, values = learner.state_dict()
        publisher.begin_checkpoint(learner, {"late": lambda: learner.events}, lambda: None, [])
        rounds = 0
        while publisher.busy:
            teach(learner, world, 1)
            publisher._copy(0.0)
            rounds += 1
            if rounds == 20:
                publisher.wait()
        checkpoint = store.newest()
        assert rounds == 20
        assert all(checkpoint.arrays[name].tobytes() == arrays[name].tobytes() for name in arrays)
        assert checkpoint.values["learner"]["events"] == values["events"] < checkpoint.values["late"] == learner.events
    assert len(pauses) >= 40
    assert min(pauses) > 0
    publisher.close()


@pytest.mark.slow
def test_after_a_failure_everything_is_written(publisher, store, config, world, teach, redis_client):
    learner = Learner(config)
    teach(learner, world, 12)
    store.may.set()
    publisher.begin_checkpoint(learner, {}, lambda: None, [])
    publisher.wait()
    store.fail = True
    teach(learner, world, 1)
    publisher.begin_checkpoint(learner, {}, lambda: None, [])
    publisher.wait()
    store.fail = False
    publisher.begin_checkpoint(learner, {}, lambda: None, [])
    publisher.wait()
    arrays, _ = learner.state_dict()
    found = store.newest()
    assert len(found.manifest.chain) == 1
    assert all(found.arrays[name].tobytes() == arrays[name].tobytes() for name in arrays)


@pytest.mark.slow
def test_a_publisher_goes_on_from_the_checkpoint_that_was_loaded(store, writer, config, world, teach, redis_client):
    learner = Learner(config)
    teach(learner, world, 12)
    store.may.set()
    first = Publisher(store, writer, "digest")
    first.begin_checkpoint(learner, {}, lambda: None, [])
    first.close()
    loaded = store.newest()
    again = Learner.from_state_dict(config, loaded.arrays, loaded.values["learner"])
    second = Publisher(store, writer, "digest")
    second.continue_from(again, loaded.name)
    teach(again, world, 1, 4)
    arrays, _ = again.state_dict()
    second.begin_checkpoint(again, {}, lambda: None, [])
    second.close()
    found = store.newest()
    assert found.manifest.chain[0] == loaded.manifest.chain[0]
    assert len(found.manifest.chain) == 2
    assert all(found.arrays[name].tobytes() == arrays[name].tobytes() for name in arrays)
