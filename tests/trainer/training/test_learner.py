"""A planted world is learned: index, recall, unseen items, and that nothing is left to chance."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.features.pair_facts import pair_facts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner

CODES = "levels.hierarchy.codes.0"


def clusters(learner: Learner, rows: np.ndarray) -> np.ndarray:
    return np.array([int(learner.items.table.ids[row].partition("-")[0][1:]) for row in rows])


def purity(nodes: np.ndarray, labels: np.ndarray) -> float:
    """Share of the items whose node's most frequent cluster is their own."""
    return sum(np.bincount(labels[nodes == node]).max() for node in np.unique(nodes)) / len(labels)


def test_nodes_are_clusters(taught):
    learner, _ = taught
    rows = np.flatnonzero(learner.leaves.node_of[: len(learner.items)] >= 0)
    nodes, labels = learner.leaves.node_of[rows], clusters(learner, rows)
    assert len(rows) > 90
    shuffled = np.mean([purity(nodes, np.random.default_rng(n).permutation(labels)) for n in range(10)])
    assert purity(nodes, labels) > 0.95
    assert shuffled < 0.6


def served(learner: Learner, queries: QueryArrays, memory: MemoryEntries) -> list[list[int]]:
    """The 10 best rows of every query, by beam, pair facts, budget and item level."""
    snapshot = make_snapshot(learner, SnapshotOrigin(1, 1))
    encoder, scorer = Encoder(learner.config.model, snapshot.model), Scorer(learner.config.model, snapshot.model)
    vectors = encoder.vectors(snapshot.items["embeddings"], snapshot.items["tokens"])
    encoded = scorer.encode(queries, vectors, learner.leaves.node_log_share())
    pairs = scorer.pair_logits(pair_facts(queries, memory, learner.covisitation, learner.states))
    config, best = learner.config.model, []
    for number in range(len(queries.now)):
        rows = learner.leaves.candidates(encoded.leaf_log_probs[number], config.beam, config.budget).rows
        rows = np.union1d(rows, pairs.by_query(number + 1)[number].rows)
        features = learner.states.features(rows, int(queries.now[number]))
        scores = scorer.score(encoded, number, vectors[rows], features, learner.leaves.node_of[rows])
        scores = pairs.by_query(number + 1)[number].added_to(scores, rows)
        best.append(rows[np.argsort(-scores)[:10]].tolist())
    return best


@pytest.mark.slow
def test_served_recall_beats_popularity(taught, copy_of, new_world):
    learner = copy_of(taught[0])
    world = new_world(seed=7)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(400))
    known = (prepared.queries.history_items >= 0).any(1)
    targets = prepared.items[known]
    asked = QueryArrays(*(part[known] for part in prepared.queries))
    found = served(learner, asked, prepared.memory.select(known))
    popular = np.argsort(-learner.states.counts(np.arange(len(learner.items)), learner.watermark)[:, -1])[:10]
    ours = np.mean([target in rows for target, rows in zip(targets, found, strict=True)])
    assert known.sum() > 300
    assert ours > 0.6
    assert ours > 2 * np.isin(targets, popular).mean()


def test_an_unseen_item_is_where_its_content_belongs_at_once(taught):
    learner, _ = taught
    snapshot = make_snapshot(learner, SnapshotOrigin(1, 1))
    encoder = Encoder(learner.config.model, snapshot.model)
    rows = np.arange(len(learner.items))
    labels = clusters(learner, rows)
    nodes = encoder.assign(encoder.vectors(snapshot.items["embeddings"], snapshot.items["tokens"]))
    model = learner.config.model
    for cluster in range(6):
        own = pad_tokens([hash_features({"topic": f"c{cluster}"}, model.buckets, model.item_tokens)], model.item_tokens)
        vector = encoder.vectors(np.zeros((1, model.dim + 1), np.float32), own)
        node = encoder.assign(vector)[0]
        neighbours = labels[nodes == node]
        assert (neighbours == cluster).mean() > 0.8


def test_an_item_that_was_never_clicked_has_no_id_part(taught, copy_of, world):
    learner = copy_of(taught[0])
    world.now = learner.watermark
    learner.prepare(world.clicks([], [], items=[world.item("c1-new")]))
    row = learner.items.table.find(["c1-new"])[0]
    assert not learner.network.items.ids.weight[row].any()


def states(learner: Learner) -> dict[str, bytes]:
    arrays, values = learner.state_dict()
    return {name: array.tobytes() + str((array.dtype, array.shape)).encode() for name, array in arrays.items()} | {
        name: repr(value).encode() for name, value in values.items()
    }


@pytest.mark.slow
def test_the_same_batches_give_the_same_bits(config, new_world, teach):
    one, two = Learner(config), Learner(config)
    for learner in (one, two):
        teach(learner, new_world(), 15)
    assert states(one) == states(two)
    other = Learner(config.model_copy(update={"seed": 1}))
    teach(other, new_world(), 15)
    assert states(other)[f"network.monn.{CODES}"] != states(one)[f"network.monn.{CODES}"]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 4, 30])
def test_a_restored_learner_goes_on_to_the_last_bit(config, new_world, teach, stop):
    """Before the nodes are seeded, and after."""
    config = config.model_copy(update={"expire_after_idle": 300.0})
    world, same = new_world(), new_world()
    straight, broken = Learner(config), Learner(config)
    teach(straight, world, stop)
    teach(broken, same, stop)
    again = Learner.from_state_dict(config, *broken.state_dict())
    assert states(again) == states(broken) == states(straight)
    for _ in range(4):  # node sums differ in their last bits if they are made afresh
        teach(straight, world, 10)
        teach(again, same, 10)
        assert again.leaves.node_log_share().tobytes() == straight.leaves.node_log_share().tobytes()
        assert states(again) == states(straight)


def test_a_state_is_a_copy(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 6)
    arrays, values = learner.state_dict()
    before = {name: array.copy() for name, array in arrays.items()}
    counts = values["items"], values["users"]
    teach(learner, world, 2)
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)
    assert (values["items"], values["users"]) == counts


def test_a_model_of_another_shape_is_refused(config, world, teach):
    learner = Learner(config)
    teach(learner, world, 1)
    wider = config.model_copy(update={"model": config.model.model_copy(update={"hidden": 24})})
    with pytest.raises(RuntimeError, match="size mismatch"):
        Learner.from_state_dict(wider, *learner.state_dict())


def test_a_delta_holds_what_changed_since_the_last_one(config, world):
    learner = Learner(config)
    learner.train(learner.prepare(world.clicks(["u", "v"], ["a", "b"])))
    first = learner.delta(epoch=2)
    assert (first.new_user_rows.tolist(), list(first.new_users)) == ([0, 1], ["u", "v"])
    assert first.item_rows.tolist() == [0, 1]
    assert not learner.touched
    learner.train(learner.prepare(world.clicks(["w", "u"], ["b", "b"])))
    second = learner.delta(epoch=2)
    assert second.item_rows.tolist() == [0, 1], "the one clicked, and the one that it is a neighbour of now"
    assert second.user_rows.tolist() == [0, 2]
    assert (second.new_user_rows.tolist(), list(second.new_users)) == ([2], ["w"])
    assert second.user_items[0].tolist() == [-1, -1, 0, 1]
    assert (second.item_values == learner.states.values[[0, 1]]).all()
    assert second.events == 4
    empty = learner.delta(epoch=2)
    assert (len(empty.item_rows), len(empty.user_rows), empty.new_users) == (0, 0, [])


def test_users_features_reach_the_mirrors_before_their_first_click(config, world):
    learner = Learner(config)
    learner.prepare(world.clicks([], [], users=[world.user("u", age="20s")]))
    delta = learner.delta()
    assert delta.user_rows.tolist() == [0]
    assert (delta.user_tokens[0] >= 0).sum() == 1


def test_a_deleted_user_is_forgotten(config, world):
    learner = Learner(config)
    learner.prepare(world.clicks(["u", "v"], ["a", "a"], users=[world.user("u", age="20s")]))
    learner.delta()
    after = learner.prepare(world.clicks(["u"], ["b"], deleted_users=["u", "nobody"]))
    assert (after.queries.history_items == -1).all()
    assert (after.queries.user_tokens == -1).all()
    assert learner.users.table.ids == ["u", "v"]
    assert learner.delta().user_rows.tolist() == [0]


def test_queries_know_nothing_of_their_own_event_or_later_ones(config, world):
    learner = Learner(config)
    prepared = learner.prepare(world.clicks(["u", "u", "v", "u"], ["a", "b", "b", "c"]))
    assert prepared.queries.history_items[:, -2:].tolist() == [[-1, -1], [-1, 0], [-1, -1], [0, 1]]
    assert (prepared.queries.history_times < prepared.queries.now[:, None]).all()
    assert prepared.queries.now.tolist() == prepared.ts.tolist()


def test_new_items_are_told_of_with_the_time_of_their_first_sign(config, world):
    learner = Learner(config)
    item = world.item("announced")
    shown = [("shown", world.now + 1, world.now + 2), ("announced", world.now + 3, world.now + 4)]
    feed = {
        one.id: one
        for one in learner.prepare(
            world.clicks(["u", "v", "u"], ["announced", "clicked", "clicked"], items=[item], seen_items=shown)
        ).feed
    }
    assert feed.keys() == {"announced", "clicked", "shown"}
    assert (feed["announced"].ts, feed["announced"].sent_at) == (item.ts, item.ts)
    assert feed["announced"].tokens
    assert (feed["shown"].ts, feed["shown"].sent_at) == shown[0][1:]
    assert feed["clicked"].ts == item.ts + 2000
    assert feed["clicked"].sent_at == item.ts + 2005
    assert not learner.prepare(world.clicks(["u"], ["clicked"])).feed


def test_actions_weigh_what_the_configuration_says(config, world):
    learner = Learner(config.model_copy(update={"action_weights": {"click": 3.0}}))
    learner.train(learner.prepare(world.clicks(["u"], ["a"])))
    assert learner.states.values[0].tolist() == [3.0] * 7


def test_an_empty_batch_is_learned_from_in_no_way(config, world):
    learner = Learner(config)
    before = states(learner)
    report = learner.train(learner.prepare(world.clicks([], [], watermark=0)))
    assert report.events == 0
    assert np.isnan(report.loss)
    assert states(learner) == before


@pytest.mark.slow
def test_gone_items_are_no_candidates_any_more(config, world, teach, candidates_of):
    learner = Learner(config.model_copy(update={"expire_after_idle": 600.0}))
    teach(learner, world, 8)
    old = len(learner.items)
    world.now += 700_000
    prepared = learner.prepare(world.clicks(["u1"] * 3, ["fresh-1", "fresh-2", learner.items.table.ids[0]]))
    candidates = candidates_of(learner, prepared)
    assert set(candidates.rows.tolist()) == {0, old, old + 1}
    assert set(candidates.rows[candidates.uniform].tolist()) <= {old, old + 1}


@pytest.mark.slow
def test_slow_streams_are_learned_in_small_steps_with_past_events(config, world, teach):
    fast, slow = (
        Learner(config.model_copy(update={"slow_from": limit, "slow_step": 16, "replay": 1.0, "index": config.index}))
        for limit in (1e9, 1.0)
    )
    batches = [world.batch(64) for _ in range(10)]
    for learner in (fast, slow):
        for batch in batches:
            report = learner.train(learner.prepare(batch))
            assert (report.events, report.unsafe) == (64, 0)
        assert learner.events == learner.positives == 640
    assert fast.steps == 10
    assert slow.steps == 40
    assert len(slow.replay) == 640
    assert slow.slow
    assert not fast.slow
    np.testing.assert_allclose(fast.states.values, slow.states.values, rtol=1e-5)


def test_repeats_are_labels_and_no_examples(config, world):
    from dataclasses import replace

    learner, batch = Learner(config), world.batch(32)
    repeat = np.zeros(32, np.bool_)
    repeat[5:9] = True
    prepared = learner.prepare(replace(batch, engagements=replace(batch.engagements, repeat=repeat)))
    assert len(prepared.items) == 28
    assert prepared.indices.tolist() == [*range(5), *range(9, 32)]
    assert learner.train(prepared).events == 32
    assert (learner.events, learner.positives) == (32, 28)
    alone = replace(world.clicks(["u1"], ["c1-0"]).engagements, repeat=np.ones(1, np.bool_))
    report = learner.train(learner.prepare(replace(batch, engagements=alone, items=[], item_sent_at=[])))
    assert (report.events, report.unsafe) == (1, 0)


def test_who_tells_nobody_keeps_no_list_of_new_users(config, new_world):
    learner = Learner(config)
    learner.train(learner.prepare(new_world().batch(32)))
    assert learner.users.named
    learner.discard_delta()
    assert not learner.users.named
    assert not learner.touched


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True])
def test_the_best_half_life_is_followed_from_the_first_steps_on_if_it_is_wanted(config, with_index, new_world, early):
    """The longest comes first; from the third step on a shorter one is the best by far."""
    learner, world, used = Learner(with_index(config, early=early)), new_world(), []
    for step in range(66):
        if step == 3:
            learner.half_lives.loss[2] = -1e9
        learner.train(learner.prepare(world.batch(16)))
        used.append(learner.half_life)
    first = 4 if early else 64
    assert used == [len(HALF_LIVES) - 1] * first + [2] * (66 - first)
