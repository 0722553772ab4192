"""Rows that come and go: nothing of an id is left in its row, and the same stream gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.streaming.schema.batch import Batch, LabelledImpressions
from hsnn.trainer.config.catalogue import CatalogueConfig
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.progress import NO_ROW, TrainingProgress
from hsnn.trainer.training.learner import Learner

LIMITED = IdsConfig(
    items=IdLimits(cap=80, expire_after=20.0, floor=8),
    users=IdLimits(cap=40, expire_after=300.0, floor=4, admit_after=2),
    candidates=30,
    reuse_after=256,
)


def limited_of(config: TrainerConfig) -> TrainerConfig:
    """Small tables; items leave after a minute without a click; everything is learned again, with cross features."""
    model = config.model.model_copy(update={"cross": True, "tasks": ("click",)})
    return config.model_copy(
        update={
            "ids": LIMITED,
            "expire_after_idle": 60.0,
            "model": model,
            "slow_from": 0.0,
            "replay_size": 300,
            # Items that return are not announced again, and the whole catalogue changes at once.
            "catalogue": CatalogueConfig(authority="seen", mass_expiry_share=1.0),
        }
    )


@pytest.fixture
def limited(config) -> TrainerConfig:
    return limited_of(config)


class Stream:
    """Clicks on a catalogue that moves on: 24 items at a time, other ones every eight batches; some users come once."""

    def __init__(self, world) -> None:
        self.world, self.number, self.known = world, 0, set()
        self.rng = np.random.default_rng(5)

    def batch(self, size: int = 64) -> Batch:
        self.number += 1
        users = [f"u{n}" if n < 40 else f"once{self.number}-{n}" for n in self.rng.integers(50, size=size).tolist()]
        items = [f"c{n % 6}-{self.number // 8 * 4 + n // 6}" for n in self.rng.integers(24, size=size).tolist()]
        new = [self.world.item(name) for name in dict.fromkeys(items) if name not in self.known]
        self.known |= {*items}
        described = [self.world.user(f"d{self.number}", age="20s")] if self.number % 3 == 0 else []
        return self.world.clicks(
            users, items, items=new, users=described, labelled_impressions=self.judged(users, items)
        )

    def judged(self, users, items) -> LabelledImpressions:
        ts = self.world.now - np.arange(8)
        labels = (np.arange(8) % 2).astype(np.float32)[:, None]
        return LabelledImpressions(ts, ts, users[:8], [*items[:7], "never shown"], labels, [None] * 8)


@pytest.fixture
def new_stream(new_world):
    return lambda: Stream(new_world())


def learn(learner: Learner, stream: Stream, batches: int) -> None:
    for _ in range(batches):
        learner.train(learner.prepare(stream.batch()))


def bits(learner: Learner) -> dict[str, bytes]:
    arrays, values = learner.state_dict()
    return {name: array.tobytes() for name, array in arrays.items()} | {"values": repr(values).encode()}


@pytest.fixture(scope="module")
def straight(config, new_world) -> tuple[Learner, Stream]:
    """A learner that has seen 60 batches of a stream in one go, and that stream; not to be changed."""
    learner, stream = Learner(limited_of(config)), Stream(new_world())
    learn(learner, stream, 60)
    return learner, stream


@pytest.mark.slow
def test_rows_are_reused_and_the_tables_stay_small(straight):
    learner, stream = straight
    assert learner.recycled >= 3
    assert len(stream.known) > 2 * LIMITED.items.cap
    assert len(learner.items) <= LIMITED.items.cap
    assert len(learner.users) <= LIMITED.users.cap
    assert learner.items.table.id_count >= 24  # the catalogue of the day


@pytest.mark.slow
@pytest.mark.parametrize("at", [17, 45])
def test_a_restored_learner_goes_on_to_the_last_bit(limited, new_stream, straight, at):
    first, again = Learner(limited), new_stream()
    learn(first, again, at)
    second = Learner.from_state_dict(limited, *first.state_dict())
    assert bits(second) == bits(first)
    learn(second, again, 60 - at)
    assert bits(second) == bits(straight[0])


@pytest.mark.slow
def test_a_reused_row_is_as_a_row_that_never_was(limited, new_stream, monkeypatch):
    learner, stream, seen = Learner(limited), new_stream(), []
    fresh = Learner(limited)
    fresh.items.rows(["other"])
    fresh.reserve()
    begin = learner.recycler.begin_batch

    def watched(now, events):
        before, left = learner.recycled, list(learner.recycler.items.left)
        begin(now, events)
        if learner.recycled > before:
            seen.extend(left)
            check(np.array(left))

    def check(rows):
        for part, names in PER_ROW.items():
            for name in names:
                mine, new = (getattr(_part(one, part), name) for one in (learner, fresh))
                assert (mine[rows] == new[:1]).all(), (part, name)
        assert not any(learner.items.features[row] for row in rows)
        assert not np.isin(learner.histories.items, rows).any()
        assert not np.isin(learner.covisitation.neighbours, rows).any()
        held = {name: array[: len(learner.replay)] for name, array in learner.replay.arrays.items()}
        assert not np.isin(held["history_items"], rows).any()
        assert not np.isin(held["items"], rows).any()
        assert not np.isin([row for part in learner.delayed_counters._waiting for row in part[0]], rows).any()
        assert not np.isin(np.concatenate([learner.leaves.members(node) for node in range(12)]), rows).any()

    monkeypatch.setattr(learner.recycler, "begin_batch", watched)
    learn(learner, stream, 60)
    assert len(seen) > 30


PER_ROW = {
    "states": ("values", "last", "first"),
    "delayed_counters.states": ("values", "last", "first"),
    "frequency": ("counts", "seen"),
    "network.items.ids": ("weight", "accumulator"),
    "covisitation": ("neighbours", "weights", "totals", "last"),
    "items": ("tokens", "expires_at"),
    "leaves": ("log_mass",),
}


def _part(learner, path):
    for name in path.split("."):
        learner = getattr(learner, name)
    return learner


@pytest.mark.slow
def test_within_an_epoch_a_row_never_means_two_items(limited, new_stream):
    learner, stream, meant = Learner(limited), new_stream(), {}
    for _ in range(60):
        prepared = learner.prepare(stream.batch())
        for item in prepared.feed:
            assert meant.setdefault((learner.recycled, item.row), item.id) == item.id
        learner.train(prepared)
    rows = {row for _, row in meant}
    assert len({row: name for (_, row), name in meant.items()}) == len(rows) < len({*meant.values()})


@pytest.mark.slow
def test_an_item_that_gives_up_its_row_is_deleted_for_the_others(limited, new_stream):
    learner, stream = Learner(limited), new_stream()
    alive, deleted = set(), set()
    for _ in range(40):
        prepared = learner.prepare(stream.batch())
        for item in prepared.feed:
            (deleted if item.deleted else alive).add(item.id)
            (alive if item.deleted else deleted).discard(item.id)
        rows = learner.items.table.find(sorted(alive))
        assert (rows >= 0).all()
        assert (learner.items.table.find(sorted(deleted)) < 0).all()
        learner.train(prepared)
    assert len(deleted) > 20


def test_a_user_without_a_row_has_no_history_and_gets_one_when_admitted(config, world):
    learner = Learner(config.model_copy(update={"ids": IdsConfig(users=IdLimits(admit_after=3))}))
    first = learner.prepare(world.clicks(["a", "b", "a"], ["x", "y", "y"], users=[world.user("b", age="20s")]))
    assert first.users.tolist() == [-1, 0, -1]
    assert (first.queries.history_items == -1).all()
    assert ((first.queries.user_tokens >= 0).sum(1) > 0).tolist() == [False, True, False]
    assert first.unknown_users == {0: "a", 2: "a"}
    learner.train(first)
    second = learner.prepare(world.clicks(["a", "a"], ["x", "y"]))
    assert second.users.tolist() == [1, 1]
    assert second.queries.history_items[:, -1].tolist() == [-1, 0]
    delta = learner.delta()
    assert (delta.new_user_rows.tolist(), list(delta.new_users)) == ([0, 1], ["b", "a"])


def test_a_user_who_left_is_a_stranger_again_and_the_row_is_somebody_elses(config, world):
    learner = Learner(config.model_copy(update={"ids": IdsConfig(users=IdLimits(cap=1))}))
    learner.train(learner.prepare(world.clicks(["a", "a"], ["x", "y"], users=[world.user("a", age="20s")])))
    learner.delta()
    prepared = learner.prepare(world.clicks(["b"], ["x"]))
    assert prepared.users.tolist() == [0]
    assert (prepared.queries.history_items == -1).all()
    assert (prepared.queries.user_tokens == -1).all()
    learner.train(prepared)
    delta = learner.delta()
    assert (delta.user_rows.tolist(), delta.new_user_rows.tolist(), list(delta.new_users)) == ([0], [0], ["b"])
    assert delta.user_items[0, -1] == 0


def test_events_on_items_without_a_row_are_dropped_and_counted(config, world):
    learner = Learner(config.model_copy(update={"ids": IdsConfig(items=IdLimits(cap=2, floor=2))}))
    batch, progress = world.clicks(["a", "b", "c", "d"], ["x", "y", "z", "x"]), TrainingProgress()
    prepared = learner.prepare(batch)
    assert prepared.items.tolist() == [0, 1, 0]
    assert prepared.indices.tolist() == [0, 1, 3]
    progress.count(batch, learner.train(prepared))
    assert (progress.trained, progress.dropped) == (3, {NO_ROW: 1})
    nothing = world.clicks(["a"], ["z"])
    progress.count(nothing, learner.train(learner.prepare(nothing)))
    assert (progress.trained, progress.dropped) == (3, {NO_ROW: 2})


def test_items_that_leave_alive_at_the_cap_are_the_longest_unseen(config, world):
    ids = IdsConfig(items=IdLimits(cap=3), reuse_after=2)
    learner = Learner(config.model_copy(update={"ids": ids}))
    learner.train(learner.prepare(world.clicks(["a"] * 3, ["x", "y", "z"])))
    learner.train(learner.prepare(world.clicks(["a"] * 2, ["x", "z"])))
    refused = learner.prepare(world.clicks(["a"], ["new"]))
    assert [(item.id, item.deleted) for item in refused.feed] == [("y", True)]
    learner.train(refused)
    given = learner.prepare(world.clicks(["b", "a"], ["new", "y"]))
    assert learner.recycled == 1
    assert [(item.id, item.row, item.deleted) for item in given.feed] == [("x", 0, True), ("new", 1, False)]


@pytest.mark.slow
def test_limits_may_come_and_go_between_two_runs(config, limited, new_stream):
    plain = limited.model_copy(update={"ids": IdsConfig()})
    learner, stream = Learner(plain), new_stream()
    learn(learner, stream, 10)
    learner = Learner.from_state_dict(limited, *learner.state_dict())
    held = learner.items.table.id_count
    assert held == len(learner.items)
    learn(learner, stream, 30)
    assert learner.recycled
    vacant = learner.recycler.items.vacant()
    names = [learner.items.table.ids[row] for row in vacant.tolist()]
    learner = Learner.from_state_dict(plain, *learner.state_dict())
    assert len(vacant)
    assert not (np.isin(learner.items.table.find(names), vacant)).any()
    size = len(learner.items)
    learn(learner, stream, 30)
    assert len(learner.items) > size, "without a cap there is no end of rows"
    again = Learner.from_state_dict(plain, *learner.state_dict())
    assert bits(again) == bits(learner)


def test_without_limits_no_rows_are_recycled(config):
    assert Learner(config).recycler is None


def small(config: TrainerConfig) -> Learner:
    """Two users and three items at most; only announced items count."""
    ids = IdsConfig(items=IdLimits(cap=3), users=IdLimits(cap=2), reuse_after=2)
    return Learner(config.model_copy(update={"ids": ids}))


def click(learner: Learner, world, user: str, item: str, **side) -> None:
    learner.train(learner.prepare(world.clicks([user], [item], **side)))


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True])
def test_ids_that_come_back_keep_their_features(config, world, restart):
    learner = small(config)
    described, ann = world.item("c0-1"), world.user("ann", age="20s")
    click(learner, world, "ann", "c0-1", items=[described], users=[ann])
    (item,), (user,) = learner.items.table.find(["c0-1"]), learner.users.table.find(["ann"])
    features, tokens, known = (
        learner.items.features[item],
        learner.users.tokens[user].copy(),
        learner.items.record(item),
    )
    assert features
    assert (tokens >= 0).any()
    for number in range(12):
        click(learner, world, f"other{number}", f"c1-{number}", items=[world.item(f"c1-{number}")])
    assert learner.items.table.find(["c0-1"])[0] < 0
    assert learner.users.table.find(["ann"])[0] < 0
    if restart:
        arrays, values = learner.state_dict()
        learner = Learner.from_state_dict(learner.config, arrays, values)
    for _ in range(3):
        click(learner, world, "ann", "c0-1")
    (item,), (user,) = learner.items.table.find(["c0-1"]), learner.users.table.find(["ann"])
    assert learner.items.features[item] == features
    assert learner.items.record(item) == known
    assert not learner.items.deleted[item], "it was announced"
    assert np.array_equal(learner.users.tokens[user], tokens)


def test_a_user_who_was_deleted_meanwhile_comes_back_without_features(config, world):
    learner = small(config)
    click(learner, world, "ann", "c0-1", users=[world.user("ann", age="20s")])
    for number in range(4):
        click(learner, world, f"other{number}", "c0-1")
    assert learner.users.table.find(["ann"])[0] < 0
    click(learner, world, "bob", "c0-1", deleted_users=["ann"])
    click(learner, world, "ann", "c0-1")
    assert (learner.users.tokens[learner.users.table.find(["ann"])[0]] == -1).all()
