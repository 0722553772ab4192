"""What a learner does with dislikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.features.sampling_frequency import NO_DRAW
from hsnn.trainer.features.user_memory import DISLIKED
from hsnn.trainer.modules.losses import dislike_losses
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.sampling import sample_candidates, sample_examples


def acting(batch: Batch, action: str, *, at: slice = slice(None)) -> Batch:
    """The batch with another action for some of its events."""
    actions = list(batch.engagements.action)
    actions[at] = [action] * len(actions[at])
    return replace(batch, engagements=replace(batch.engagements, action=actions))


@pytest.fixture
def learner(taught, copy_of):
    return copy_of(taught[0])


@pytest.fixture
def world(learner, new_world):
    world = new_world(seed=11)
    world.now = learner.watermark
    return world


def scores_of(learner: Learner, queries, item: int) -> np.ndarray:
    """Item-level scores of one item for some queries, relative to those of all items."""
    network, rows = learner.network, np.arange(len(learner.items))
    with torch.no_grad():
        taken = network._tables.gather(rows, learner.items.tokens, [queries])
        users = network.monn.encode_users(taken.inputs(learner.config.model.dim))
        states = torch.from_numpy(learner.states.features(rows, learner.watermark))
        coarse = torch.zeros(len(queries.now), len(rows))
        parts = network.monn.over_arch_inputs(users=users, vectors=taken.candidates(), states=states, coarse=coarse)
        logits = network.monn.over_arch(parts)
    return (logits[:, item] - logits.logsumexp(1)).numpy()


def test_dislikes_feed_no_counter_and_no_history(learner, world):
    before = learner.states.values.copy(), learner.frequency.counts.copy(), learner.half_lives.loss.copy()
    histories, positives, events = learner.histories.items.copy(), learner.positives, learner.events
    prepared = learner.prepare(acting(world.clicks(["u1", "u2"] * 8, ["c1-0", "c2-0"] * 8), "thumbs_down"))
    report = learner.train(prepared)
    assert report.events == 16
    assert np.isnan(report.loss)
    assert (learner.events, learner.positives) == (events + 16, positives)
    for old, new in zip(
        before, (learner.states.values, learner.frequency.counts, learner.half_lives.loss), strict=True
    ):
        assert old.tobytes() == new.tobytes()
    assert histories.tobytes() == learner.histories.items.tobytes()


@pytest.mark.slow
def test_dislikes_lower_the_score_of_their_item_and_clicks_raise_it(learner, world, copy_of):
    users = [f"u{number}" for number in range(24)]
    liked, disliked = copy_of(learner), copy_of(learner)
    batch = world.clicks(users, ["c3-19"] * 24)
    queries = liked.prepare(batch).queries
    row = learner.items.table.find(["c3-19"])[0]
    before = scores_of(learner, queries, row).mean()
    for _ in range(20):
        disliked.train(disliked.prepare(acting(batch, "not-interested")))
        liked.train(liked.prepare(batch))
    assert scores_of(disliked, queries, row).mean() < before - 0.1
    assert scores_of(liked, queries, row).mean() > before


def test_the_memory_marks_what_was_disliked_last(learner, world):
    batch = world.clicks(["u5", "u5", "u6"], ["c5-0", "c5-1", "c5-0"])
    learner.train(learner.prepare(acting(batch, "hide", at=slice(1))))
    rows = learner.users.table.find(["u5", "u6"])
    entries = learner.memory.gather(rows)
    item = learner.items.table.find(["c5-0"])[0]
    flags = [entries.flags[place][entries.items[place] == item] for place in range(2)]
    assert flags[0] & DISLIKED
    assert not (flags[1] & DISLIKED).any()
    assert np.isin(rows[0], learner.dirty_users.drain())


def test_a_disliked_item_is_no_negative_for_other_users(learner, world):
    batch = world.clicks(["new1", "new2", "u3"], ["c1-0", "c2-0", "c3-18"])
    prepared = learner.prepare(acting(batch, "report", at=slice(2, 3)))
    rng = np.random.default_rng(0)
    examples = sample_examples(learner, prepared, rng)
    candidates = sample_candidates(learner, prepared, examples, rng)
    place = np.searchsorted(candidates.rows, learner.items.table.find(["c3-18"])[0])
    assert np.sign(examples.weights).tolist() == [1, 1, -1]
    assert candidates.targets[2] == place
    drawn = place in candidates.uniform
    assert (candidates.log_q[place] == NO_DRAW) == (not drawn)


def test_a_mixed_batch_is_learned_in_small_steps_too(learner, world):
    learner.config = learner.config.model_copy(update={"slow_step": 16, "slow_from": 0.0})
    prepared = learner.prepare(acting(world.batch(64), "dislike", at=slice(5)))
    assert len(prepared.items) == 59
    report = learner.train(prepared)
    assert report.events == 64
    assert np.isfinite(report.loss)


def test_a_dislike_of_weight_0_teaches_nothing(taught, world):
    config = taught[0].config.model_copy(update={"action_weights": {"skip": 0.0}})
    learner = Learner(config)
    assert learner.prepare(acting(world.batch(16), "skip")).dislikes is None


def test_a_restored_learner_goes_on_with_repeats_and_ranks(learner, world):
    batches = [acting(world.batch(64), "rate") for _ in range(3)]
    stars = np.random.default_rng(0).integers(1, 6, 64).astype(np.float32)
    batches = [replace(one, engagements=replace(one.engagements, value=stars)) for one in batches]
    learner.train(learner.prepare(batches[0]))
    other = Learner.from_state_dict(learner.config, *learner.state_dict())
    for batch in batches[1:]:
        mine, theirs = learner.prepare(batch), other.prepare(batch)
        assert mine.counted.tobytes() == theirs.counted.tobytes()
        assert 0 < (mine.counted < 1).sum() < 64
        assert learner.train(mine).loss == other.train(theirs).loss


def test_the_loss_of_a_dislike_pushes_good_items_down_and_leaves_bad_ones():
    logits = torch.tensor([[5.0, 0.0, 0.0], [-9.0, 0.0, 0.0]], requires_grad=True)
    losses = dislike_losses(logits, torch.tensor([float(NO_DRAW), 0.0, 0.0]), torch.tensor([0, 0]))
    losses.sum().backward()
    assert losses.detach().tolist() == pytest.approx([np.log1p(np.exp(5)), np.log1p(np.exp(-9))], rel=1e-4)
    assert logits.grad[:, 0].tolist() == pytest.approx([0.9933, 0.0001], abs=1e-3)
    assert not logits.grad[:, 1:].any()
