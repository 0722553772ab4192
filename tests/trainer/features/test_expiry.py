"""One rule of departure, and that trainer, scheduler and server all follow it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.indexer.assign.catalogue import ItemCatalogue as SchedulerCatalogue
from hsnn.serving.mirror.items import MirroredItems as ServerCatalogue
from hsnn.trainer.features.expiry import NEVER, expiry_times
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner

TIMES = st.integers(1, 100)
ITEMS = st.lists(st.tuples(TIMES, st.one_of(st.just(0), TIMES), st.booleans()), min_size=1, max_size=8)


def naive(item: tuple[int, int, bool], idle_ms: int | None, watermark: int) -> bool:
    last, expires_at, deleted = item
    if deleted or 0 < expires_at <= watermark:
        return False
    return idle_ms is None or last + idle_ms > watermark


@given(ITEMS, st.one_of(st.none(), st.integers(1, 60)), st.integers(0, 200))
def test_the_rule(items, idle_ms, watermark):
    last, expires_at, deleted = (np.array([item[i] for item in items]) for i in range(3))
    alive = expiry_times(last, expires_at, deleted, idle_ms) > watermark
    assert alive.tolist() == [naive(item, idle_ms, watermark) for item in items]


def test_what_nothing_ends_never_dies():
    assert expiry_times(np.array([5]), np.array([0]), np.array([False]), None).tolist() == [NEVER]


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(ITEMS, st.one_of(st.none(), st.integers(1, 60)), st.integers(1, 200))
def test_trainer_scheduler_and_server_agree(items, idle_ms, watermark):
    names = [f"i{number}" for number in range(len(items))]
    learner = learner_of(names, items, idle_ms, watermark)
    expected = [naive(item, idle_ms, watermark) for item in items]
    rows = np.arange(len(items))
    assert learner.alive(rows).tolist() == expected

    snapshot = make_snapshot(learner, SnapshotOrigin(1, 1))
    assert SchedulerCatalogue(snapshot).alive_mask().tolist() == expected

    server = ServerCatalogue(idle_ms)
    server.load_snapshot(snapshot, server.changed_features(snapshot))
    server.refresh_expiry(rows, snapshot.items["last"])
    assert (server.unavailable_from[rows] > watermark).tolist() == expected


def learner_of(names: list[str], items: list[tuple[int, int, bool]], idle_ms: int | None, watermark: int) -> Learner:
    from hsnn.trainer.config.model import ModelConfig, TrainerConfig

    learner = Learner(TrainerConfig(model=ModelConfig(dim=2, hidden=2, nodes=2, buckets=16)))
    learner.idle_ms, learner.watermark, learner.departures.now = idle_ms, watermark, watermark
    rows, _ = learner.items.rows(names)
    learner.reserve()
    learner.states.last[rows] = learner.states.first[rows] = [last for last, _, _ in items]
    learner.items.expires_at[rows] = [expires_at for _, expires_at, _ in items]
    learner.items.deleted[rows] = [deleted for _, _, deleted in items]
    return learner


def test_an_item_that_is_engaged_with_again_lives_again(config, world):
    learner = Learner(config.model_copy(update={"expire_after_idle": 100.0}))
    learner.train(learner.prepare(world.clicks(["u"] * 2, ["a", "b"])))
    world.now += 97_000
    learner.train(learner.prepare(world.clicks(["u"], ["b"])))
    assert learner.alive(np.arange(2)).tolist() == [True, True]
    world.now += 2_000
    learner.train(learner.prepare(world.clicks(["v"], ["b"])))
    assert learner.alive(np.arange(2)).tolist() == [False, True]
    learner.train(learner.prepare(world.clicks(["v"], ["a"])))
    assert learner.alive(np.arange(2)).tolist() == [True, True]


def test_deletion_and_return_in_the_log(config, world):
    learner = Learner(config)
    learner.prepare(world.clicks(["u", "u"], ["a", "b"]))
    gone = learner.prepare(world.clicks([], [], items=[world.deletion("b"), world.deletion("unheard of")]))
    assert [(item.id, item.deleted) for item in gone.feed] == [("b", True)]
    assert learner.items.table.ids == ["a", "b"]
    assert learner.alive(np.arange(2)).tolist() == [True, False]
    back = learner.prepare(world.clicks([], [], items=[world.item("a"), world.item("b", colour="red")]))
    assert [(item.id, item.deleted, item.features.get("colour")) for item in back.feed] == [
        ("a", False, None),
        ("b", False, "red"),
    ]
    assert learner.alive(np.arange(2)).tolist() == [True, True]


def test_an_items_own_end(config, world):
    learner = Learner(config)
    item = type(world.item("a"))(id="a", ts=world.now, features={}, expires_at=world.now + 5_000)
    feed = learner.prepare(world.clicks(["u"], ["a"], items=[item])).feed
    assert [one.expires_at for one in feed] == [item.expires_at]
    assert learner.alive(np.array([0])).tolist() == [True]
    learner.prepare(world.clicks([], [], watermark=item.expires_at))
    assert learner.alive(np.array([0])).tolist() == [False]


def test_a_delta_carries_the_last_sign_of_life(config, world):
    learner = Learner(config)
    learner.train(learner.prepare(world.clicks(["u"], ["a"])))
    delta = StateDelta.decode(learner.delta(3).encode())
    assert (delta.epoch, delta.watermark) == (3, world.now)
    assert delta.item_last.tolist() == [world.now]
