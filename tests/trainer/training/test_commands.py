"""Commands change a learner where they stand in the log, once, and outlast restarts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.schema.commands import BoostRates, Rebalance, SetRates, decode_commands
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner

START = 1_700_000_000_000


def written(command) -> bytes:
    return msgspec.json.encode(command)


def bits(learner: Learner) -> dict[str, bytes]:
    arrays, values = learner.state_dict()
    return {name: array.tobytes() for name, array in arrays.items()} | {"values": repr(values).encode()}


def told(learner: Learner, world, *commands) -> None:
    learner.train(learner.prepare(world.batch(64, control=tuple(written(command) for command in commands))))


@pytest.fixture
def crowded(config, with_index, new_world, teach) -> tuple[Learner, object]:
    """A learner whose nodes were moved apart, but for one that stands where all items are."""
    learner, world = Learner(with_index(config, revive=False, kmeans_every=10**9)), new_world()
    teach(learner, world, 12)
    codes = learner.network.monn.levels.hierarchy.codes[0].data
    codes += 1000.0
    codes[3] -= 1000.0
    living = np.flatnonzero(learner.alive(np.arange(len(learner.items))))
    learner.leaves.assign_rows(living, learner.network.assign(living, learner.items.tokens))
    assert learner.leaves.sizes[3] == len(living)
    return learner, world


@pytest.mark.slow
def test_an_overfull_node_is_split_and_the_empty_ones_hold_something(crowded):
    learner, world = crowded
    items = len(learner.leaves)
    told(learner, world, Rebalance(split=(3,), merge=(0, 1, 2, 4, 5, 6), over=2.0, under=0.2))
    sizes = learner.leaves.sizes
    assert sizes.sum() >= items
    assert sizes.max() < 0.6 * sizes.sum()
    assert (sizes > 0).sum() >= 5
    assert learner.commanded.generation == 1
    assert make_snapshot(learner, SnapshotOrigin(1, 1)).manifest.generation == 1


@pytest.mark.slow
def test_a_revived_node_is_not_taken_for_dead(crowded):
    learner, world = crowded
    usage = learner.network.objective.usage
    usage.shares[0][:] = 0.0
    usage.shares[0][3] = 1.0
    before = learner.network.monn.levels.hierarchy.codes[0].data.clone()
    learner.prepare(world.batch(64, control=(written(Rebalance(split=(3,), over=2.0)),)))
    given = (learner.network.monn.levels.hierarchy.codes[0].data != before).any(1).numpy()
    assert given.sum() == 2
    np.testing.assert_allclose(usage.shares[0][given], 1 / 12)


@pytest.mark.slow
def test_a_repeated_late_or_foreign_command_is_passed_over(crowded):
    learner, world = crowded
    command = Rebalance(split=(3,), over=2.0)
    told(learner, world, command, command, command)
    assert learner.commanded.generation == 1
    codes = learner.network.monn.levels.hierarchy.codes[0].data.clone()
    learner.prepare(world.batch(64, control=(written(command), b"?", b'{"op":"rebalance","over":0.5}', b"\xff")))
    learner.prepare(world.batch(64, control=(written(Rebalance(generation=7, split=(3,), over=1.5)),)))
    assert (learner.network.monn.levels.hierarchy.codes[0].data == codes).all()
    assert learner.commanded.generation == 1


def test_nodes_that_are_well_by_the_trainers_own_view_stay_as_they_are(taught):
    learner = Learner.from_state_dict(taught[0].config, *taught[0].state_dict())
    codes = learner.network.monn.levels.hierarchy.codes[0].data.clone()
    sizes = learner.leaves.sizes
    over = float(sizes.max() / sizes.mean()) + 1
    learner.prepare(taught[1].batch(64, control=(written(Rebalance(split=(0, 999), over=over, under=0.0)),)))
    assert (learner.network.monn.levels.hierarchy.codes[0].data == codes).all()
    assert learner.commanded.generation == 1, "and the command is answered all the same"


def test_before_there_are_nodes_a_rebalance_is_passed_over(config, new_world):
    learner, world = Learner(config), new_world()
    told(learner, world, Rebalance(split=(0,), over=2.0))
    assert learner.commanded.generation == 0


@pytest.mark.slow
def test_only_named_families_are_touched(config, new_world, teach):
    deep = config.model_copy(update={"model": config.model.model_copy(update={"nodes": 4, "children": (4,)})})
    learner, world = Learner(deep), new_world()
    teach(learner, world, 30)
    coarse, fine = (codes.data.clone() for codes in learner.network.monn.levels.hierarchy.codes)
    learner.prepare(world.batch(64, control=(written(Rebalance(split=(5,), over=1.01, under=0.9)),)))
    after = [codes.data for codes in learner.network.monn.levels.hierarchy.codes]
    touched = set(np.flatnonzero((after[1] != fine).any(1).numpy()).tolist())
    assert touched <= {4, 5, 6, 7}
    assert touched or (after[0] != coarse).any()


def test_commanded_rates_are_those_of_a_learner_that_was_configured_so(config, new_world, teach):
    changes = {"dense_rate": 5e-4, "embedding_rate": 0.07}
    ours, theirs = Learner(config), Learner(config.model_copy(update=changes))
    told(ours, new_world(), SetRates(**changes))
    theirs.train(theirs.prepare(new_world().batch(64)))
    arrays = [learner.state_dict()[0] for learner in (ours, theirs)]
    assert all(arrays[0][name].tobytes() == arrays[1][name].tobytes() for name in arrays[0])
    told(plain := Learner(config), new_world())
    assert plain.state_dict()[0]["network.items.weight"].tobytes() != arrays[0]["network.items.weight"].tobytes()


def test_one_rate_is_changed_and_the_other_stays(config, new_world):
    learner, world = Learner(config), new_world()
    told(learner, world, SetRates(embedding_rate=0.07))
    told(learner, world, SetRates(dense_rate=5e-4), SetRates(dense_rate=6e-4))
    rates = [group["lr"] for group in learner.network.optimizer.adam.param_groups]
    assert (rates, learner.network.optimizer.embedding_rate) == ([6e-4, config.index.rate], 0.07)


@pytest.mark.slow
def test_a_restart_goes_on_as_it_was_steered(crowded, new_world, teach):
    learner, world = crowded
    told(learner, world, Rebalance(split=(3,), over=2.0), SetRates(dense_rate=5e-4))
    again = Learner.from_state_dict(learner.config, *learner.state_dict())
    assert (again.commanded.generation, again.commanded.dense_rate) == (1, 5e-4)
    batches = [world.batch(64) for _ in range(5)]
    for one in (learner, again):
        for batch in batches:
            one.train(one.prepare(batch))
    assert bits(learner) == bits(again)


def test_a_checkpoint_from_before_there_were_commands_is_read(config, new_world, teach):
    learner = Learner(config)
    teach(learner, new_world(), 2)
    arrays, values = learner.state_dict()
    del values["commanded"]
    again = Learner.from_state_dict(config, arrays, values)
    assert again.commanded.generation == 0
    assert again.network.optimizer.embedding_rate == config.embedding_rate


def test_what_is_no_command_is_passed_over():
    records = [b"", b"[]", b'{"op":"rates","dense_rate":-1}', b'{"op":"rebalance","split":[-1]}', b'{"op":"rates"}']
    assert decode_commands(records) == [SetRates()]


@pytest.mark.slow
class TestInTheLoop:
    """On a real log and a real server."""

    def test_a_rebalance_is_carried_out_once_and_published_at_once(self, redis_server, redis_client, config, tmp_path):
        from hsnn.monitoring.config import MonitoringConfig
        from hsnn.streaming.config import StreamingConfig
        from hsnn.streaming.log.redis.log import RedisLog
        from hsnn.streaming.producer.commands import CommandSender
        from hsnn.streaming.redis.keys import key
        from hsnn.streaming.schema.events import Interaction, encode
        from hsnn.trainer.online.loop import OnlineLoop
        from hsnn.trainer.snapshot_chunks import read_snapshot

        streaming = StreamingConfig(log=redis_server, batch_size=64, partitions=3, max_wait=0.05)
        log = RedisLog(redis_server)
        log.create_topic("engagements", 3)
        events = [
            Interaction(id=f"e{at}", ts=START + at, user=f"u{at % 7}", item=f"i{at % 90}", action="click")
            for at in range(1280)
        ]
        log.append("engagements", [ProducerRecord(event.user.encode(), encode(event)) for event in events])
        log.flush()
        CommandSender(streaming)(Rebalance(ts=START + 1100, split=(0,), over=1.2))
        settings = {"checkpoint_dir": tmp_path / "one", "snapshot_interval": 1e9}
        loop = OnlineLoop(
            config.model_copy(update=settings), streaming, MonitoringConfig(), log, redis_client, "digest"
        )
        loop.run(lambda: loop.progress.trained >= 1280)
        assert loop.learner.commanded.generation == 1, "one of three copies, on three partitions"
        announced = [int(fields[b"n"]) for _, fields in redis_client.xrange(key("snapshots"))]
        manifests = [
            read_snapshot(redis_client, redis_client.hgetall(key("snapshot", number))).manifest for number in announced
        ]
        assert [manifest.generation for manifest in manifests] == [0, 1, 1]
        assert manifests[1].events == 1152, "at once: with the batch that the command is in"
        log.close()


@pytest.mark.slow
def test_a_boost_lasts_until_its_time_also_across_a_restart(config, new_world, teach):
    learner, world = Learner(config), new_world()
    teach(learner, world, 2)
    told(learner, world, BoostRates(0, 2.0, world.now + 200_000))  # a batch is 64 s of stream time
    boosted = learner.network.optimizer.embedding_rate
    assert boosted == 2.0 * config.embedding_rate
    again, later = Learner.from_state_dict(config, *learner.state_dict()), new_world()
    assert again.network.optimizer.embedding_rate == boosted
    later.now = world.now
    for each, stream in ((learner, world), (again, later)):
        rates = []
        for _ in range(5):
            told(each, stream)
            rates.append(each.network.optimizer.embedding_rate)
        assert rates[0] == boosted
        assert rates[-1] == config.embedding_rate
        assert each.network.optimizer.adam.param_groups[0]["lr"] == config.dense_rate
