"""What is served is what was trained: one model behind three faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsnn.trainer.features.queries import QueryArrays, dense_features
from hsnn.trainer.model.item_encoder import Encoder, content_sum
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.modules.inputs import model_inputs
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot


@pytest.fixture
def learner(taught, copy_of):
    return copy_of(taught[0])


@pytest.fixture
def published(learner):
    """Encoder, scorer and static vectors of a snapshot."""
    snapshot, model = make_snapshot(learner, SnapshotOrigin(1, 1)), learner.config.model
    encoder = Encoder(model, snapshot.model)
    return (
        encoder,
        Scorer(model, snapshot.model),
        encoder.vectors(snapshot.items["embeddings"], snapshot.items["tokens"]),
    )


@pytest.fixture
def asked(learner, new_world, candidates_of):
    """A batch that was not learned, and its candidates."""
    world = new_world(seed=11)
    world.now = learner.watermark
    batch = world.batch(24, users=[world.user("u1", age="20s")])
    prepared = learner.prepare(batch)
    candidates = candidates_of(learner, prepared)
    return prepared, candidates


def test_the_encoder_gives_the_networks_vectors(learner, published):
    rows = np.arange(len(learner.items))
    with torch.no_grad():
        own = learner.network.items.vectors(rows, learner.items.tokens[rows]).numpy()
    np.testing.assert_allclose(published[2], own, atol=1e-6)


def test_content_is_summed_over_the_tokens_that_are_there():
    content = np.arange(12, dtype=np.float32).reshape(4, 3)
    tokens = np.array([[0, 3, -1], [-1, -1, -1], [2, -1, -1]], np.int32)
    assert content_sum(content, tokens).tolist() == [(content[0] + content[3]).tolist(), [0, 0, 0], content[2].tolist()]


def test_the_encoder_assigns_as_training_does(learner, published):
    encoder, _, vectors = published
    with torch.no_grad():
        own = learner.network.monn.levels.hierarchy.assign(torch.from_numpy(vectors))
    assert encoder.assign(vectors).tolist() == own.tolist()


def test_served_scores_are_training_logits(learner, published, asked):
    encoder, scorer, vectors = published
    prepared, candidates = asked
    monn = learner.network.monn
    seen = []
    monn.over_arch.register_forward_hook(lambda module, parts, logits: seen.append(logits))
    learner.network.step(prepared.queries, candidates, prepared.weights, learner.leaves, learner.events)
    training = seen[0].detach().numpy()  # (B, U), before the step
    encoded = scorer.encode(prepared.queries, vectors, learner.leaves.node_log_share())
    nodes = encoder.assign(vectors)[candidates.rows]
    every = scorer.score_all(encoded, vectors[candidates.rows], candidates.states, nodes)
    np.testing.assert_allclose(every, training, atol=2e-5)
    for request in range(len(every)):
        one = scorer.score(encoded, request, vectors[candidates.rows], candidates.states, nodes)
        np.testing.assert_allclose(one, every[request], atol=1e-5)


def test_a_score_does_not_depend_on_its_company(published, asked):
    encoder, scorer, vectors = published
    prepared, candidates = asked
    encoded = scorer.encode(prepared.queries, vectors, np.full(12, -2.5, np.float32))
    nodes = encoder.assign(vectors)[candidates.rows]
    all_of_them = scorer.score(encoded, 3, vectors[candidates.rows], candidates.states, nodes)
    few = scorer.score(encoded, 3, vectors[candidates.rows[5:8]], candidates.states[5:8], nodes[5:8])
    np.testing.assert_allclose(few, all_of_them[5:8], atol=1e-5)
    part = QueryArrays(*(column[3:4] for column in prepared.queries))
    alone = scorer.encode(part, vectors, np.full(12, -2.5, np.float32))
    np.testing.assert_allclose(alone.leaf_log_probs[0], encoded.leaf_log_probs[3], atol=1e-5)


def test_an_item_in_no_node_has_the_worst_nodes_logit(learner, published, asked):
    _, scorer, vectors = published
    prepared, candidates = asked
    scorer.model.ensemble = 1.0
    encoded = scorer.encode(prepared.queries, vectors, learner.leaves.node_log_share())
    row, worst = candidates.rows[:1], encoded.leaf_log_probs[0].argmin(keepdims=True)
    outside = scorer.score(encoded, 0, vectors[row], candidates.states[:1], np.array([-1]))
    assert outside == pytest.approx(scorer.score(encoded, 0, vectors[row], candidates.states[:1], worst))


def test_representatives_are_the_nearest_own_items(published):
    encoder, _, vectors = published
    rows, nodes = np.arange(5, len(vectors)), encoder.assign(vectors)[5:]
    chosen = encoder.representatives(vectors[rows], rows, nodes)
    with torch.no_grad():
        projected, metric = (
            encoder._hierarchy.project(torch.from_numpy(vectors)).numpy(),
            encoder._hierarchy.metric.numpy(),
        )
    for node in range(12):
        own = rows[nodes == node]
        if len(own) == 0:
            assert chosen[node] == -1
            continue
        distance = np.square((projected[own] - encoder.node_vectors[node]) @ metric).sum(1)
        assert chosen[node] == own[distance.argmin()]
    assert (chosen >= 0).sum() == len(np.unique(nodes))
    nothing = encoder.representatives(vectors[:0], rows[:0], nodes[:0])
    assert nothing.tolist() == [-1] * 12


def test_absent_history_is_no_input():
    """Whatever vectors and times lie where no item is, the model sees the same."""
    items = np.array([[-1, 2], [-1, -1]], np.int32)
    one = QueryArrays(
        items, np.array([[0, 50], [0, 0]]), *(np.full((2, 2), -1, np.int32) for _ in range(2)), np.array([100, 100])
    )
    other = one._replace(history_times=np.array([[99, 50], [7, 8]]))
    history, table, rows = torch.zeros(2, 2, 3), torch.zeros(5, 2), torch.from_numpy(one.feature_rows(2))
    for a, b in zip(model_inputs(one, history, table, rows), model_inputs(other, history, table, rows), strict=True):
        assert torch.equal(a, b)


def test_dense_features_know_hour_and_weekday():
    day, hour = 86_400_000, 3_600_000
    now = np.array([0, 6 * hour, day, 7 * day])
    found = dense_features(np.ones((4, 2), np.bool_), np.zeros(4, np.float32), now)
    assert found.shape == (4, 7)
    np.testing.assert_allclose(found[0, 3:], [0, 1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found[1, 3:5], [1, 0], atol=1e-6)
    np.testing.assert_allclose(found[2, 3:5], found[0, 3:5], atol=1e-6)
    assert abs(found[2, 5] - found[0, 5]) > 0.5
    np.testing.assert_allclose(found[3], found[0], atol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 15, 17, 64])
def test_a_state_vector_has_the_same_bits_in_any_company(published, asked, count):
    _, scorer, _ = published
    states = asked[1].states
    states = np.tile(states, (1 + 80 // len(states), 1))
    every = scorer.state_vectors(states)
    assert scorer.state_vectors(states[7 : 7 + count]).tobytes() == every[7 : 7 + count].tobytes()
    np.testing.assert_allclose(every, scorer.model.state_tower(states), atol=2e-6)
